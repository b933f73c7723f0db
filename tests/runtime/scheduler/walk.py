"""What schedules are held against: every minute of the clock on the wall, one after the other."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import msgspec

MINUTE = timedelta(minutes=1)
SMALL = timedelta(hours=3)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",  # changed at one minute past midnight
    "America/Sao_Paulo",  # changed at midnight: days without their first hour
    "America/Havana",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Asia/Gaza",
    "Australia/Lord_Howe",  # changes by half an hour
    "Antarctica/Troll",  # changes by two hours
    "Pacific/Apia",  # left out 30 December 2011
    "Pacific/Chatham",
)


class Fields(msgspec.Struct, frozen=True):
    """A cron expression that is made of its sets, not read from its text."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both: bool
    frequent: bool

    def has(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours or wall.month not in self.months:
            return False
        by_date, by_weekday = wall.day in self.days, (wall.weekday() + 1) % 7 in self.weekdays
        return (by_date and by_weekday) if self.both else (by_date or by_weekday)


def walls(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Give each minute from one instant to another, and what the clocks on the walls show then."""
    moment = start
    while moment <= end:
        yield moment, moment.astimezone(zone).replace(tzinfo=None)
        moment += MINUTE


def walked(fields: Fields, minutes: list[tuple[datetime, datetime]]) -> list[datetime]:
    """Run cron as its manual says, minute by minute; begin well before the ticks that matter."""
    found: list[datetime] = []
    before = furthest = minutes[0][1]
    for moment, wall in minutes[1:]:
        jump = wall - before
        if fields.frequent or abs(jump - MINUTE) >= SMALL:
            fires = fields.has(wall)
            furthest = wall
        elif wall <= furthest:
            fires = False  # shown a second time
        else:
            skipped = range(int((wall - before) / MINUTE))
            fires = any(fields.has(wall - MINUTE * n) for n in (skipped if jump > MINUTE else range(1)))
            furthest = wall
        before = wall
        if fires:
            found.append(moment)
    return found


@cache
def changes(zone: str, first: int = 1995, last: int = 2032) -> tuple[datetime, ...]:
    """List the instants, to the hour, at which a zone's clocks have been changed within the hour before."""
    found: list[datetime] = []
    known = ZoneInfo(zone)
    moment, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last, 1, 1, tzinfo=UTC)
    offset = moment.astimezone(known).utcoffset()
    while moment < end:
        moment += timedelta(hours=24)
        if moment.astimezone(known).utcoffset() != offset:
            exact = moment - timedelta(hours=24)
            while exact.astimezone(known).utcoffset() == offset:
                exact += timedelta(hours=1)
            found.append(exact)
            offset = moment.astimezone(known).utcoffset()
    return tuple(found)
