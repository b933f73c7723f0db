"""GCRA, the leaky bucket as one number: pure rules, and the reference for what Redis and PostgreSQL do.

A counter is the moment at which it is whole again. Its lead is how far that
moment lies ahead: each unit adds one tick, time takes it away, and it never
passes the limit's period. So a counter at rest gives `count` units at once, and
from then on one a tick.
"""

import math
import re

import msgspec

from agent_factory.kit.errors import FieldError, Invalid

_PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_RULE = re.compile(r"\s*(\d{1,9})\s*/\s*(second|minute|hour|day)\s*")
_FASTEST = 100_000
"""Units a second; a tick that is shorter would be lost among the digits of the clock."""
_EARLY = 0.001
"""Of a tick: what rounding may not take away from a caller."""


class Rate(msgspec.Struct, frozen=True):
    """So many units in a period."""

    count: int
    period: str

    @property
    def span(self) -> float:
        """Seconds of the period."""
        return float(_PERIODS[self.period])

    @property
    def tick(self) -> float:
        """Seconds between two units."""
        return self.span / self.count


class Grant(msgspec.Struct, frozen=True):
    """Units that a counter gave, and its lead afterwards, in seconds."""

    units: int
    lead: float


def parse(text: str) -> tuple[Rate, ...]:
    """Read `100/minute, 1000/hour`; an empty text is no limit. Raises `Invalid`."""
    return tuple(_parse(part) for part in text.split(",")) if text.strip() else ()


def _parse(part: str) -> Rate:
    found = _RULE.fullmatch(part)
    rate = Rate(int(found[1]), found[2]) if found else None
    if rate is None or rate.count == 0 or rate.count > _FASTEST * rate.span:
        raise Invalid(
            f"{part.strip()[:50]!r} is no limit.",
            errors=[FieldError("", f"has to be like 100/minute; at most {_FASTEST} a second")],
        )
    return rate


def grant(lead: float, need: int, extra: int, tick: float, span: float) -> Grant:
    """Give the units that a counter with this lead still has, at most `need`.

    `extra` more come from the upper half of a counter only, so that near its
    end it gives nothing to one process that another could use.
    """
    lead = max(lead, 0.0)
    free = math.floor((span - lead) / tick + _EARLY)
    units = min(need, free) + min(extra, max(0, free - need - math.floor(span / tick / 2)))
    return Grant(units, lead + units * tick)


def wait(lead: float, tick: float, span: float) -> float:
    """Give the seconds until a counter with this lead has a unit."""
    return max(0.0, lead + tick * (1 - _EARLY / 2) - span)


def left(lead: float, tick: float, span: float) -> int:
    """Give the units that a counter with this lead has."""
    return max(0, math.floor((span - max(lead, 0.0)) / tick + _EARLY))
