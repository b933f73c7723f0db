"""Schedules: cron expressions on the wall clocks of a timezone, whatever is done to these clocks.

As the manual of Vixie's cron has it for changes of less than three hours: a
tick in an hour that is skipped comes once, right after it; a tick in an hour
that is repeated comes once, the first time. Expressions that come due every
hour or every few minutes follow the clock: they lose the hour that is
skipped, and come due in both of the repeated one.
"""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache

import msgspec

from agent_factory.kit.errors import Invalid
from agent_factory.runtime.scheduler.cron import Cron, read_cron

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_SMALL = timedelta(hours=3)
"""Clocks that are put forward or back by less are put so for summer time; others are corrected."""


class TimezoneUnknown(Invalid):
    """A name that no timezone has."""

    code = "timezone_unknown"
    title = "Unknown timezone"


def timezone(name: str) -> zoneinfo.ZoneInfo:
    """Find a timezone by its IANA name, such as `Europe/Berlin`; raises `TimezoneUnknown`."""
    if name not in _names():
        raise TimezoneUnknown(f"{name[:100]!r} is no timezone; use an IANA name such as UTC or Europe/Berlin.")
    return zoneinfo.ZoneInfo(name)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


class Schedule(msgspec.Struct, frozen=True):
    """A cron expression in a timezone."""

    cron: Cron
    zone: zoneinfo.ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """Give the first tick after an instant, in UTC; None where there is none before the calendar ends."""
        moment = moment.astimezone(UTC)
        near = self._near(moment)
        if near is not None:
            return near
        best: datetime | None = None
        # A clock that was put back over midnight shows a day's end after the next day's beginning, hence a day more.
        for day in self.cron.dates((moment.astimezone(self.zone) - _DAY).date()):
            if best is not None and datetime.combine(day, time(), UTC) - _DAY * 2 > best:
                break
            for hour in self.cron.hours:
                for minute in self.cron.minutes:
                    for instant in self._instants(datetime.combine(day, time(hour, minute))):
                        if instant > moment and (best is None or instant < best):
                            best = instant
        return best

    def ticks(self, after: datetime, count: int) -> list[datetime]:
        """Give the next ticks after an instant."""
        found: list[datetime] = []
        for tick in self._from(after):
            if len(found) == count:
                break
            found.append(tick)
        return found

    def between(self, since: datetime, until: datetime, count: int) -> list[datetime]:
        """Give the last `count` ticks from one instant to another, both included, oldest first."""
        step = timedelta(hours=4)
        while True:
            start = max(since, until - step)
            found: list[datetime] = []
            for tick in self._from(start - timedelta(microseconds=1)):
                if tick > until:
                    break
                found.append(tick)
            if len(found) >= count or start == since:
                return found[-count:]
            step *= 4

    def _from(self, after: datetime) -> Iterator[datetime]:
        tick = self.after(after)
        while tick is not None:
            yield tick
            tick = self.after(tick)

    def _near(self, moment: datetime) -> datetime | None:
        """Give the next tick where that is within a day, and no clock is changed around it."""
        offset = moment.astimezone(self.zone).utcoffset()
        if offset is None or any(
            (moment + _DAY * days).astimezone(self.zone).utcoffset() != offset for days in (-1, -0.5, 0.5, 1, 1.5, 2)
        ):
            return None
        wall = (moment + offset).replace(tzinfo=None, second=0, microsecond=0) + _MINUTE
        for day in (wall.date(), wall.date() + _DAY):
            if not self.cron.has(day):
                continue
            for hour in self.cron.hours:
                for minute in self.cron.minutes:
                    found = datetime.combine(day, time(hour, minute))
                    if found >= wall:
                        return (found - offset).replace(tzinfo=UTC)
        return None

    def _instants(self, wall: datetime) -> Iterator[datetime]:
        """Give the instants at which a tick comes that wall clocks show so: none, one or two."""
        first = wall.replace(tzinfo=self.zone)
        second = first.replace(fold=1)
        before, after = first.utcoffset(), second.utcoffset()
        assert before is not None
        assert after is not None
        if before == after:
            yield first.astimezone(UTC)
        elif before > after:  # the clock is put back and shows this twice
            yield (wall - before).replace(tzinfo=UTC)
            if self.cron.frequent or before - after >= _SMALL:
                yield (wall - after).replace(tzinfo=UTC)
        elif not self.cron.frequent and after - before < _SMALL:  # it is put forward and never shows this
            yield self._change((wall - after).replace(tzinfo=UTC), (wall - before).replace(tzinfo=UTC), after)

    def _change(self, before: datetime, after: datetime, offset: timedelta) -> datetime:
        """Find the instant at which the zone's offset becomes `offset`, to the second."""
        low, high = int(before.timestamp()), int(after.timestamp())
        while high - low > 1:
            middle = (low + high) // 2
            if datetime.fromtimestamp(middle, self.zone).utcoffset() == offset:
                high = middle
            else:
                low = middle
        return datetime.fromtimestamp(high, UTC)


def read_schedule(expression: str, zone: str = "UTC") -> Schedule:
    """Read a schedule; raises `CronInvalid` or `TimezoneUnknown`."""
    return Schedule(read_cron(expression), timezone(zone))
