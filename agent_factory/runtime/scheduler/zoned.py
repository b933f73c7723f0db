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
_HOUR = timedelta(hours=1)
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
        best: datetime | None = None
        # A clock that is put back over midnight shows a day's end after the next day's beginning, hence a day more.
        for day in self.cron.dates((moment.astimezone(self.zone) - _DAY).date()):
            midnight = datetime.combine(day, time(), UTC)
            low, high = self._offsets(midnight)
            if best is not None and midnight - high >= best:
                break
            found = self._first(midnight, low, high, moment)
            if found is not None and (best is None or found < best):
                best = found
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

    def _offsets(self, midnight: datetime) -> tuple[timedelta, timedelta]:
        """Give the least and the most by which the zone is ahead of UTC around a day."""
        probes = ((midnight + _DAY * n / 2).astimezone(self.zone).utcoffset() for n in range(-2, 6))
        offsets = [offset for offset in probes if offset is not None]
        return min(offsets), max(offsets)

    def _first(self, midnight: datetime, low: timedelta, high: timedelta, moment: datetime) -> datetime | None:
        """Give the first tick of a day after an instant; `low` and `high` are the offsets around that day."""
        best: datetime | None = None
        for hour in self.cron.hours:
            start = midnight + _HOUR * hour
            if start + _HOUR - low <= moment:
                continue
            for minute in self.cron.minutes:
                wall = start + _MINUTE * minute
                if best is not None and wall - high >= best:
                    return best
                if wall - low > moment:
                    for instant in self._instants(wall.replace(tzinfo=None)):
                        if instant > moment and (best is None or instant < best):
                            best = instant
        return best

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
