"""Sends requests away while there is too much to do, so that those which are in get their answers."""

import asyncio
from collections import deque

from agent_factory.kit.errors import Unavailable

_EVERY = 0.25
"""Seconds between two looks at how late the process is."""
_LOOKS = 4
"""Looks in a row that have to find it late; one may be a pause that is over already."""
_RETRY_AFTER = 2.0


class Overloaded(Unavailable):
    """More to do than can be done."""

    code = "overloaded"
    title = "The server has too much to do"


class Gate:
    """Counts the requests that are worked on, and knows how late the process is."""

    def __init__(self, most: int, max_lag: float) -> None:
        """Let in at most so many at a time, and none while the event loop is late by `max_lag` seconds."""
        self.inside = 0
        self._most = most
        self._max_lag = max_lag
        self._lags: deque[float] = deque([0.0] * _LOOKS, maxlen=_LOOKS)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    @property
    def lag(self) -> float:
        """The seconds by which the process was late at least, of late."""
        return min(self._lags)

    def enter(self) -> None:
        """Let a request in, which has to `leave`; or raise `Overloaded`."""
        if self._timer is None:
            self._look_later(asyncio.get_running_loop())
        if self.inside >= self._most:
            raise Overloaded(f"{self._most} requests are being worked on; try again shortly.", retry_after=_RETRY_AFTER)
        if self.lag > self._max_lag:
            raise Overloaded("The server is late with everything; try again shortly.", retry_after=_RETRY_AFTER)
        self.inside += 1

    def leave(self) -> None:
        """Let a request out."""
        self.inside -= 1

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _EVERY
        self._timer = loop.call_at(self._due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        # With nobody here there is nothing to be late with: the process was stopped, or its machine asleep.
        self._lags.append(loop.time() - self._due if self.inside else 0.0)
        if self.inside or self.lag > self._max_lag:
            self._look_later(loop)
        else:
            self._timer = None  # nobody is here; the next one to come looks again
