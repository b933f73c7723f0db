"""Cron expressions: what is read, and what is refused."""

from datetime import date
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.runtime.scheduler.cron import CronInvalid, read_cron


def days(text: str, start: date, count: int) -> list[str]:
    return [day.isoformat() for day in islice(read_cron(text).dates(start), count)]


@pytest.mark.parametrize(
    ("text", "minutes", "hours"),
    [
        ("0 9 * * *", [0], [9]),
        ("*/15 9-17 * * *", [0, 15, 30, 45], list(range(9, 18))),
        ("5,10-12 0 * * *", [5, 10, 11, 12], [0]),
        ("1-10/3 2 * * *", [1, 4, 7, 10], [2]),
        ("40/5 23 * * *", [40, 45, 50, 55], [23]),
        ("@hourly", [0], list(range(24))),
        ("  30   6  * * * ", [30], [6]),
    ],
)
def test_minutes_and_hours_are_lists_of_numbers_ranges_and_steps(
    text: str, minutes: list[int], hours: list[int]
) -> None:
    cron = read_cron(text)
    assert (list(cron.minutes), list(cron.hours)) == (minutes, hours)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 0 * * mon", ["2026-01-05", "2026-01-12"]),
        ("0 0 * * 7", ["2026-01-04", "2026-01-11"]),
        ("0 0 * * 0", ["2026-01-04", "2026-01-11"]),
        ("0 0 * * FRI-SAT", ["2026-01-02", "2026-01-03"]),
        ("0 0 1 jan,JUL *", ["2026-01-01", "2026-07-01"]),
        ("0 0 13 * 5", ["2026-01-02", "2026-01-09", "2026-01-13"]),  # either, as cron has it
        ("0 0 */10 * mon", ["2026-05-11", "2026-06-01"]),  # both, where one begins with a star
        ("0 0 29 2 *", ["2028-02-29", "2032-02-29"]),
        ("0 0 29 2 */7", ["2032-02-29", "2060-02-29"]),  # a Sunday
        ("0 0 L * *", ["2026-01-31", "2026-02-28", "2026-03-31"]),
        ("0 0 * * 5#2", ["2026-01-09", "2026-02-13"]),
        ("0 0 * * friL", ["2026-01-30", "2026-02-27"]),
        ("@yearly", ["2026-01-01", "2027-01-01"]),
        ("@monthly", ["2026-01-01", "2026-02-01"]),
        ("@weekly", ["2026-01-04", "2026-01-11"]),
    ],
)
def test_days_are_those_of_the_calendar(text: str, expected: list[str]) -> None:
    assert days(text, date(2026, 1, 1), len(expected)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@often", "five fields"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day"),
        ("* * 32 * *", "day"),
        ("* * * 13 *", "month"),
        ("* * * foo *", "month"),
        ("* * * * 8", "weekday"),
        ("*/0 * * * *", "empty"),
        ("5-1 * * * *", "empty"),
        ("1,,2 * * * *", "minute"),
        ("-1 * * * *", "minute"),
        ("1-2-3 * * * *", "minute"),
        ("*/-1 * * * *", "minute"),
        ("mon * * * *", "minute"),
        ("* * * * 5#6", "weekday"),
        ("* * * * 9#1", "weekday"),
        ("0 0 30 2 *", "no year"),
        ("0 0 31 4,6,9,11 *", "no year"),
        ("٣ * * * *", "minute"),
        ("9" * 500, "characters"),
        ("0 0 " + "9" * 100 + " * *", "day"),
    ],
)
def test_what_is_no_expression_is_refused_by_its_field(text: str, said: str) -> None:
    with pytest.raises(CronInvalid, match=said):
        read_cron(text)


@given(st.text(max_size=60))
def test_whatever_people_type_is_read_or_refused(text: str) -> None:
    try:
        cron = read_cron(text)
    except CronInvalid:
        return
    assert cron.minutes
    assert next(cron.dates(date(2026, 1, 1))) is not None
