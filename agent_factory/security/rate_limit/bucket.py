"""What one process has of one counter: units that were taken from it before they are handed out."""

from hashlib import blake2b

from agent_factory.security.rate_limit.counters import Ask
from agent_factory.security.rate_limit.rules import Grant, Rate, left, wait

_AHEAD = 2.0
"""Seconds of a caller's requests that are taken ahead; units that are not used by twice that time lapse."""
_GROWTH = 2
"""Times what was used of late that is taken ahead at most, however fast it went."""
_SHORTEST = 0.001
"""Seconds; a burst of one moment tells nothing about the next."""
_LARGEST_PART = 10
"""A process takes at most this part of a limit ahead."""
_SLACK = 0.1
"""Seconds that a question may be under way; what is remembered of a counter is less by them."""


class Bucket:
    """One counter as this process sees it; times are those of the process's own steady clock."""

    __slots__ = ("_asked_at", "_had", "_lead", "_lead_at", "_tick", "key", "lapses_at", "name", "rate", "refused_until",
                 "stock", "wanted")  # fmt: skip

    def __init__(self, name: str, identity: str, rate: Rate) -> None:
        """Name the limit for its readers, and the counter for all processes."""
        self.name = name
        self.rate = rate
        self.key = blake2b(f"{identity}|{rate.count}/{rate.period}".encode(), digest_size=16).digest()
        self.stock = 0
        self.lapses_at = 0.0
        self.refused_until = 0.0
        self.wanted = 0
        self._tick = rate.tick
        self._had = 0
        self._asked_at = 0.0
        self._lead = 0.0
        self._lead_at = 0.0

    def holds(self, now: float) -> bool:
        """Tell whether a unit is at hand."""
        return self.stock > 0 and now < self.lapses_at

    def refuses(self, now: float) -> bool:
        """Tell whether it is known that there is no unit."""
        return now < self.refused_until and not self.holds(now)

    def ask(self, now: float) -> Ask:
        """Ask for what is wanted, and for what may soon be wanted, as it was of late."""
        if now >= self.lapses_at:
            self.stock = 0
        used = self._had - self.stock
        extra = int(used * min(_GROWTH, _AHEAD / max(now - self._asked_at, _SHORTEST)))
        need = max(0, self.wanted - self.stock)
        self.wanted = 0
        self._asked_at = now
        return self._asking(need, min(extra, self.rate.count // _LARGEST_PART), now)

    def owing(self, units: int, now: float) -> Ask:
        """Ask for units that were given without the counter."""
        return self._asking(units, 0, now)

    def _asking(self, need: int, extra: int, now: float) -> Ask:
        known = max(0.0, self._known(now) - _SLACK)
        return Ask(self.key, known, need, extra, self._tick, self.rate.span)

    def receive(self, ask: Ask, given: Grant, sent_at: float, now: float) -> None:
        """Take in what the counter gave to a question that left at `sent_at`."""
        self._lead, self._lead_at = given.lead, sent_at
        self.add(given.units, now)
        if given.units < ask.need:
            self.refused_until = now + wait(given.lead, self._tick, self.rate.span)

    def add(self, units: int, now: float) -> None:
        """Keep units at hand."""
        if now >= self.lapses_at:
            self.stock = 0
        self.stock += units
        self._had = self.stock
        if units:
            self.lapses_at = now + 2 * _AHEAD

    def left(self, now: float) -> int:
        """Give the units that the caller has, as far as this process knows."""
        if self.refuses(now):
            return 0
        at_hand = self.stock if now < self.lapses_at else 0
        return at_hand + left(self._known(now), self._tick, self.rate.span)

    def reset(self, now: float) -> float:
        """Give the seconds until there is a unit again or, where there is one, until all are there."""
        if now < self.refused_until:
            return self.refused_until - now
        return self._known(now)

    def idle(self, now: float) -> bool:
        """Tell whether there is nothing to remember."""
        return now >= self.lapses_at and now >= self.refused_until and self._known(now) <= 0 and not self.wanted

    def _known(self, now: float) -> float:
        return max(0.0, self._lead - (now - self._lead_at))
