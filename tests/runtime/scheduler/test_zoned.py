"""Schedules on the clocks of timezones, held against a walk over every minute (S72)."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.runtime.scheduler.zoned import Schedule, TimezoneUnknown, read_schedule
from tests.runtime.scheduler.walk import ZONES, Fields, changes, walked, walls

DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(schedule: Schedule, start: str, count: int) -> list[str]:
    ticks = schedule.ticks(datetime.fromisoformat(start), count)
    return [tick.astimezone(schedule.zone).strftime("%m-%d %H:%M %z") for tick in ticks]


def field(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """A field as text, and the numbers that it names."""
    every = frozenset(range(low, high + 1))
    number = st.integers(low, high)
    return st.one_of(
        st.just(("*", every)),
        st.integers(2, max(3, high // 2)).map(lambda n: (f"*/{n}", frozenset(range(low, high + 1, n)))),
        st.frozensets(number, min_size=1, max_size=3).map(lambda ns: (",".join(map(str, sorted(ns))), ns)),
        st.tuples(number, number).map(lambda p: (f"{min(p)}-{max(p)}", frozenset(range(min(p), max(p) + 1)))),
    )


@st.composite
def expressions(draw: st.DrawFn) -> Fields:
    minute, hour = draw(field(0, 59)), draw(field(0, 23))
    day, month, weekday = draw(field(1, 28)), ("*", frozenset(range(1, 13))), draw(field(0, 6))
    if day[0] == "*":
        day = ("*", frozenset(range(1, 32)))
    elif day[0].startswith("*/"):
        day = (day[0], frozenset(range(1, 32, int(day[0][2:]))))
    return Fields(
        text=" ".join(part[0] for part in (minute, hour, day, month, weekday)),
        minutes=minute[1],
        hours=hour[1],
        days=day[1],
        months=month[1],
        weekdays=weekday[1],
        both=day[0].startswith("*") or weekday[0].startswith("*"),
        frequent=minute[0].startswith("*") or len(hour[1]) == 24,
    )


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone, and a moment that is close to a change of its clocks where it has any."""
    zone = draw(st.sampled_from(ZONES))
    known = changes(zone)
    if known and draw(st.integers(0, 9)):
        return zone, draw(st.sampled_from(known)) + timedelta(minutes=draw(st.integers(-3000, 200)))
    return zone, draw(st.datetimes(datetime(1990, 1, 1), datetime(2036, 1, 1))).replace(  # noqa: DTZ001 - UTC below
        second=0, microsecond=0, tzinfo=UTC
    )


@settings(max_examples=100, deadline=None)
@given(fields=expressions(), place=moments())
def test_ticks_are_those_of_a_walk_over_every_minute(fields: Fields, place: tuple[str, datetime]) -> None:
    zone, start = place
    end = start + 3 * DAY
    schedule = read_schedule(fields.text, zone)
    wanted = [tick for tick in walked(fields, list(walls(schedule.zone, start - 2 * DAY, end))) if tick > start]
    found = [tick for tick in schedule.ticks(start, len(wanted) + 1) if tick <= end]
    assert found == wanted


YEARLY = (
    ("30 2 * * *", {30}, {2}, False),
    ("0,30 1-3 * * *", {0, 30}, {1, 2, 3}, False),
    ("*/20 * * * *", {0, 20, 40}, set(range(24)), True),
    ("7 * * * *", {7}, set(range(24)), True),
    ("0 0 * * *", {0}, {0}, False),
    ("0 */2 * * *", {0}, set(range(0, 24, 2)), False),
    ("*/5 2 * * *", set(range(0, 60, 5)), {2}, True),
)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Havana"])
def test_a_year_of_ticks_are_those_of_a_walk_over_every_minute(zone: str) -> None:
    start, end = utc("2026-01-01 00:00"), utc("2027-01-01 00:00")
    minutes = list(walls(ZoneInfo(zone), start - DAY, end))
    always = {"days": frozenset(range(1, 32)), "months": frozenset(range(1, 13)), "weekdays": frozenset(range(7))}
    for text, at, hours, frequent in YEARLY:
        fields = Fields(
            text=text, minutes=frozenset(at), hours=frozenset(hours), both=True, frequent=frequent, **always
        )
        wanted = [tick for tick in walked(fields, minutes) if tick > start]
        assert read_schedule(text, zone).ticks(start, len(wanted)) == wanted, text


def test_a_tick_in_the_hour_that_is_skipped_comes_once_right_after_it() -> None:
    schedule = read_schedule("30 2 * * *", "Europe/Berlin")
    assert local(schedule, "2026-03-28T00:00Z", 3) == ["03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"]


def test_ticks_that_fall_together_after_the_skipped_hour_are_one() -> None:
    schedule = read_schedule("0,30 2,3 * * *", "Europe/Berlin")
    ticks = local(schedule, "2026-03-29T00:00Z", 3)
    assert ticks == ["03-29 03:00 +0200", "03-29 03:30 +0200", "03-30 02:00 +0200"]


def test_a_tick_in_the_hour_that_is_repeated_comes_the_first_time_only() -> None:
    schedule = read_schedule("30 2 * * *", "Europe/Berlin")
    assert local(schedule, "2026-10-24T12:00Z", 2) == ["10-25 02:30 +0200", "10-26 02:30 +0100"]


def test_what_comes_every_few_minutes_follows_the_clock() -> None:
    schedule = read_schedule("*/30 * * * *", "Europe/Berlin")
    assert local(schedule, "2026-03-29T00:15Z", 3) == ["03-29 01:30 +0100", "03-29 03:00 +0200", "03-29 03:30 +0200"]
    repeated = local(schedule, "2026-10-25T00:15Z", 4)
    assert repeated == ["10-25 02:30 +0200", "10-25 02:00 +0100", "10-25 02:30 +0100", "10-25 03:00 +0100"]


def test_a_day_that_a_country_has_left_out_has_no_ticks() -> None:
    schedule = read_schedule("0 12 * * *", "Pacific/Apia")
    assert [tick[:5] for tick in local(schedule, "2011-12-28T23:00Z", 2)] == ["12-29", "12-31"]


def test_a_tick_is_after_the_moment_that_is_asked_about() -> None:
    schedule = read_schedule("0 9 * * *")
    assert schedule.after(utc("2026-05-01 09:00")) == utc("2026-05-02 09:00")
    assert schedule.after(utc("2026-05-01 08:59:59.999999")) == utc("2026-05-01 09:00")


def test_the_last_ticks_of_a_time_are_found_without_walking_all_of_it() -> None:
    schedule = read_schedule("* * * * *")
    since, until = utc("1990-01-01 00:00"), utc("2026-05-01 09:00:30")
    assert schedule.between(since, until, 2) == [utc("2026-05-01 08:59"), utc("2026-05-01 09:00")]
    yearly = read_schedule("0 0 29 2 *").between(since, until, 2)
    assert yearly == [utc("2020-02-29 00:00"), utc("2024-02-29 00:00")]
    assert schedule.between(utc("2026-05-01 09:00"), utc("2026-05-01 09:00"), 5) == [utc("2026-05-01 09:00")]


@given(start=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)), minutes=st.integers(0, 5000))  # noqa: DTZ001 - UTC below
@settings(max_examples=50, deadline=None)
def test_the_ticks_between_two_moments_are_those_after_the_first_up_to_the_second(
    start: datetime, minutes: int
) -> None:
    schedule = read_schedule("*/7 1-22 * * *", "America/New_York")
    since = start.replace(tzinfo=UTC)
    until = since + timedelta(minutes=minutes)
    every = [t for t in schedule.ticks(since - timedelta(microseconds=1), 800) if t <= until]
    assert schedule.between(since, until, 800) == every
    assert schedule.between(since, until, 3) == every[-3:]


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "europe/berlin", "x" * 9000]
)
def test_a_timezone_that_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(TimezoneUnknown):
        read_schedule("@daily", name)
