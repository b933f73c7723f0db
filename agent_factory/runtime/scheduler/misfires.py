"""Which ticks of a schedule are fired, when there was nobody to fire them in time (S72)."""

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from agent_factory.runtime.scheduler.zoned import Schedule


class Misfire(StrEnum):
    """What becomes of the ticks that nobody fired in time: none, one run for all of them, or a run for each."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


MOST = 100
"""Runs that make up for missed ticks of one schedule at a time; the oldest ticks beyond that are lost."""


def spread(trigger_id: UUID, jitter: int) -> timedelta:
    """Give how much later than its ticks a trigger fires: always the same, up to `jitter` seconds."""
    if not jitter:
        return timedelta()
    return timedelta(seconds=int.from_bytes(hashlib.sha256(trigger_id.bytes).digest()[:8]) % (jitter + 1))


def to_fire(schedule: Schedule, since: datetime, until: datetime, policy: Misfire, grace: timedelta) -> list[datetime]:
    """Choose among the ticks from one instant to another, both included, oldest first.

    A tick has been missed when it is more than `grace` before `until`.
    """
    match policy:
        case Misfire.SKIP:
            return schedule.between(max(since, until - grace), until, MOST)
        case Misfire.ONCE:
            return schedule.between(since, until, 1)
        case Misfire.ALL:
            return schedule.between(since, until, MOST)
