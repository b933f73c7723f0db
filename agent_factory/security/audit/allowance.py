"""How much of one kind is recorded, so that nobody fills the disk by being refused over and over."""

import time
from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

import msgspec

_MINUTE = 60.0
_MOST_CALLERS = 10_000
_ORGANIZATION = 10
"""Times the bound of one caller that an organisation may have."""


class _Minute(msgspec.Struct):
    until: float
    count: int = 0
    left_out: int = 0


class Allowance:
    """Counts by caller and by organisation, minute by minute, in this process."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Take so many of each caller a minute, and ten times as many of an organisation."""
        self._most = most
        self._clock = clock
        self._minutes: OrderedDict[UUID, _Minute] = OrderedDict()

    def take(self, caller_id: UUID, organization_id: UUID | None = None) -> int | None:
        """Give how many of the caller's were left out since the last that was taken; None if this one is, too."""
        caller = self._minute(caller_id)
        organization = self._minute(organization_id) if organization_id is not None else None
        if caller.count >= self._most or (organization and organization.count >= self._most * _ORGANIZATION):
            caller.left_out += 1
            return None
        caller.count += 1
        if organization is not None:
            organization.count += 1
        left_out, caller.left_out = caller.left_out, 0
        return left_out

    def _minute(self, whose: UUID) -> _Minute:
        now = self._clock()
        known = self._minutes.pop(whose, None)
        if known is None:
            known = _Minute(now + _MINUTE)
        elif known.until <= now:
            known = _Minute(now + _MINUTE, left_out=known.left_out)
        self._minutes[whose] = known
        if len(self._minutes) > _MOST_CALLERS:
            self._minutes.popitem(last=False)
        return known
