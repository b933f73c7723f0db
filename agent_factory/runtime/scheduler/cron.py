"""Cron expressions: five fields or a nickname, read to the days, hours and minutes that they name."""

import calendar
import re
from collections.abc import Iterator
from datetime import date, timedelta

import msgspec

from agent_factory.kit.errors import Invalid

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_LONGEST = 200
_ITEM = re.compile(r"(\*|[a-z0-9]+(?:-[a-z0-9]+)?)(?:/([0-9]{1,4}))?")
_NTH = re.compile(r"([a-z0-9]+)(?:#([1-5])|l)")
_YEARS = 40
"""Years within which every expression that has a date has had one, also where 29 February has to be a Monday."""


class CronInvalid(Invalid):
    """A text that is no cron expression, or one that never comes due."""

    code = "cron_invalid"
    title = "Not a valid cron expression"


class Cron(msgspec.Struct, frozen=True):
    """A cron expression, read: the minutes of wall clocks that it names.

    Weekdays count from Sunday, 0. `last_day` is the last one of a month, and
    `nth` are pairs of a weekday and its count in a month, -1 for the last.
    As cron has it, a day has to fit both fields where one of them begins with
    `*`, and either where both are restricted. `frequent` expressions, which
    come due every hour or every few minutes, follow the clock when it is
    changed; see `zoned`.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    last_day: bool
    nth: frozenset[tuple[int, int]]
    both: bool
    frequent: bool

    def has(self, day: date) -> bool:
        """Tell whether a day is one of the expression's."""
        if day.month not in self.months:
            return False
        weekday = day.isoweekday() % 7
        length = calendar.monthrange(day.year, day.month)[1]
        by_date = day.day in self.days or (self.last_day and day.day == length)
        count = (day.day + 6) // 7
        by_weekday = weekday in self.weekdays or (weekday, count) in self.nth
        by_weekday = by_weekday or (day.day + 7 > length and (weekday, -1) in self.nth)
        return (by_date and by_weekday) if self.both else (by_date or by_weekday)

    def dates(self, start: date) -> Iterator[date]:
        """Give the expression's days from one on, until none can come any more."""
        end = min(start.year + _YEARS + 1, date.max.year)
        day = start
        while day.year < end:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if self.has(day):
                yield day
            day += timedelta(days=1)


def read_cron(text: str) -> Cron:
    """Read an expression; raises `CronInvalid`, which says which field is at fault.

    Fields are minute, hour, day of the month, month and weekday. Each is a
    list of `*`, `n`, `a-b`, `*/step`, `a-b/step` or `n/step`; months and
    weekdays have English names of three letters, and 7 is Sunday, too. Days
    know `L`, the last of the month; weekdays `5#2`, the second Friday, and
    `5L`, the last one. `@yearly`, `@monthly`, `@weekly`, `@daily`,
    `@midnight` and `@hourly` are short for what they say.
    """
    if len(text) > _LONGEST:
        raise CronInvalid(f"A cron expression has at most {_LONGEST} characters.")
    lowered = text.strip().lower()
    fields = _NICKNAMES.get(lowered, lowered).split()
    if len(fields) != 5:  # noqa: PLR2004 - the fields of cron
        nicknames = ", ".join(_NICKNAMES)
        raise CronInvalid(
            f"A cron expression has five fields (minute hour day month weekday), or is one of {nicknames}."
        )
    minute, hour, day, month, weekday = fields
    days, last_day = _days(day)
    weekdays, nth = _weekdays(weekday)
    minutes, hours = _numbers(minute, "minute", 0, 59), _numbers(hour, "hour", 0, 23)
    cron = Cron(
        text=text.strip(),
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=_numbers(month, "month", 1, 12, _MONTHS),
        weekdays=weekdays,
        last_day=last_day,
        nth=nth,
        both=day.startswith("*") or weekday.startswith("*"),
        frequent=minute.startswith("*") or len(hours) == 24,  # noqa: PLR2004 - hours of a day
    )
    if next(cron.dates(date(2001, 1, 1)), None) is None:
        raise CronInvalid(f"{text.strip()!r} names a date that no year has.")
    return cron


def _days(field: str) -> tuple[frozenset[int], bool]:
    items = field.split(",")
    plain = [item for item in items if item != "l"]
    return _numbers(",".join(plain), "day", 1, 31) if plain else frozenset[int](), len(plain) < len(items)


def _weekdays(field: str) -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
    plain: list[str] = []
    nth: set[tuple[int, int]] = set()
    for item in field.split(","):
        if found := _NTH.fullmatch(item):
            nth.add((_number(found[1], "weekday", 0, 7, _WEEKDAYS) % 7, int(found[2] or -1)))
        else:
            plain.append(item)
    numbers = _numbers(",".join(plain), "weekday", 0, 7, _WEEKDAYS) if plain else frozenset[int]()
    return frozenset(n % 7 for n in numbers), frozenset(nth)


def _numbers(field: str, name: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for item in field.split(","):
        parts = _ITEM.fullmatch(item)
        if parts is None:
            raise CronInvalid(f"The {name} field does not know {item!r}.")
        span, step = parts[1], int(parts[2] or 1)
        if span == "*":
            first, last = low, high - (name == "weekday")
        else:
            start, dash, end = span.partition("-")
            first = _number(start, name, low, high, names)
            last = _number(end, name, low, high, names) if dash else high if parts[2] else first
        if first > last or step < 1:
            raise CronInvalid(f"The {name} field has an empty range: {item!r}.")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, name: str, low: int, high: int, names: dict[str, int] | None) -> int:
    number = (names or {}).get(text)
    if number is None:
        if not text.isdecimal() or len(text) > 3 or not low <= int(text) <= high:  # noqa: PLR2004 - digits that are enough
            raise CronInvalid(f"The {name} field takes {low} to {high}, not {text!r}.")
        number = int(text)
    return number
