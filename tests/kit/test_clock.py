"""The clock."""

from datetime import UTC, datetime, timedelta, timezone

from agent_factory.kit.clock import now, rfc3339


def test_now_is_aware_and_in_utc() -> None:
    assert now().tzinfo is UTC
    assert now() <= now()


def test_times_are_written_in_utc_with_z_and_microseconds() -> None:
    assert rfc3339(datetime(2026, 3, 1, 12, 0, tzinfo=UTC)) == "2026-03-01T12:00:00.000000Z"
    east = datetime(2026, 3, 1, 1, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(east) == "2026-02-28T23:30:00.000005Z"
