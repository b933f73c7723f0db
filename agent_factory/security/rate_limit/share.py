"""What one process may give alone, while the counters that all share are away."""

from collections.abc import Callable

from agent_factory.security.rate_limit.counters import Ask
from agent_factory.security.rate_limit.rules import Grant, grant


class Share:
    """One process's part of every limit, from the moment at which the counters went away.

    Nobody knows any more what was used, so every counter is taken for used up
    at that moment; what flows back from then on is divided among the
    processes. Together they give no more than the counters would have given.
    """

    def __init__(self, processes: int, clock: Callable[[], float]) -> None:
        """Begin now, as one of so many processes."""
        self._processes = max(1, processes)
        self._clock = clock
        self._began = clock()
        self._whole_at: dict[bytes, float] = {}

    def take(self, ask: Ask) -> Grant:
        """Give what this process has of a counter; the lead tells when it has more."""
        now = self._clock()
        tick = ask.tick * self._processes
        span = max(ask.span, tick)
        given = grant(self._whole_at.get(ask.key, self._began + span) - now, ask.need, 0, tick, span)
        self._whole_at[ask.key] = now + given.lead
        return given

    def wait(self, ask: Ask, given: Grant) -> float:
        """Give the seconds until this process has a unit of a counter again."""
        tick = ask.tick * self._processes
        return max(0.0, given.lead + tick - max(ask.span, tick))
