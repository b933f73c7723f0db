"""The newest events of a run that is at work here."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator

from agent_factory.core.event import TurnEvent
from agent_factory.runtime.hub import EventId

_MOST = 4096
"""Events kept for watchers; older ones are in the rows."""


class Feed:
    """Keeps what a run said lately, and wakes who listens.

    `begins` is the id after which every event is here. Facts are recorded
    steps; the others mean nothing any more once the next fact is known.
    """

    def __init__(self, begins: EventId) -> None:
        """Start after an event."""
        self.begins = begins
        self.closed = False
        self._last = begins
        self._ids: list[EventId] = []
        self._events: list[TurnEvent] = []
        self._forgotten = 0
        self._waiting: list[asyncio.Future[None]] = []

    def delta(self, event: TurnEvent) -> None:
        """Publish something that nobody needs once the next fact is known."""
        self._append(EventId(self._last.major, self._last.minor + 1), event)

    def fact(self, major: int, event: TurnEvent) -> None:
        """Publish the run's recorded fact number `major`; one that comes out of turn is read from the rows."""
        if major > self._last.major:
            self._append(EventId(major, 0), event)

    def close(self) -> None:
        """End the watchers' streams once they have seen everything."""
        self.closed = True
        self._wake()

    def events(self, after: EventId) -> AsyncGenerator[tuple[EventId, TurnEvent], None]:
        """Give every event after one, then those to come, until the feed closes or has forgotten the next one.

        What is told from this call on is given in any case, also where `after`
        is a step that the rows have already, and that is only to be told here.
        """
        place = self._forgotten + bisect_right(self._ids, after)
        return self._from(place if after >= self.begins else -1)

    async def _from(self, place: int) -> AsyncGenerator[tuple[EventId, TurnEvent], None]:
        while place >= self._forgotten:
            index = place - self._forgotten
            if index < len(self._ids):
                for pair in list(zip(self._ids[index:], self._events[index:], strict=True)):
                    place += 1
                    yield pair
                continue
            if self.closed:
                return
            news = asyncio.get_running_loop().create_future()
            self._waiting.append(news)
            await news

    def _append(self, at: EventId, event: TurnEvent) -> None:
        self._last = at
        self._ids.append(at)
        self._events.append(event)
        if len(self._ids) > _MOST:
            half = _MOST // 2
            self.begins = self._ids[half - 1]
            del self._ids[:half], self._events[:half]
            self._forgotten += half
        self._wake()

    def _wake(self) -> None:
        for news in self._waiting:
            if not news.done():
                news.set_result(None)
        self._waiting.clear()
