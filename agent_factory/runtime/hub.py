"""The events of a live run, in order, for any number of watchers."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator
from typing import NamedTuple

from agent_factory.core.event import ReasoningPiece, TextPiece, TurnEvent
from agent_factory.kit.errors import FieldError, Invalid

_MOST_DELTAS = 8192
_MOST_CHARACTERS = 4_000_000
"""Deltas kept for late watchers; older ones go, for the completed message says the same."""

_TOGETHER = 16
"""Deltas that are joined into one for a watcher who is behind."""


class EventId(NamedTuple):
    """Where an event stands: how many facts of the run are recorded, and which delta since."""

    major: int
    minor: int

    def __str__(self) -> str:
        """Write it as on the wire, for example `3.12`."""
        return f"{self.major}.{self.minor}"


START = EventId(1, 0)
"""The first fact of every run: that it has begun."""


def read_event_id(text: str | None) -> EventId | None:
    """Read an id that a watcher saw last; a broken one is `Invalid`."""
    if not text:
        return None
    major, _, minor = text.partition(".")
    if len(text) > 20 or not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):  # noqa: PLR2004 - longer than any
        raise Invalid(
            "Last-Event-ID is not one of ours; leave it out to start at the first event.",
            errors=[FieldError("/Last-Event-ID", "not an event id")],
        )
    return EventId(int(major), int(minor))


class Hub:
    """Keeps what a run said, and wakes who listens.

    Facts (recorded steps and the end) stay; deltas are bounded, and the oldest
    go first. A watcher says which event it saw last and gets those after it.
    """

    def __init__(self) -> None:
        """Start without an event."""
        self._ids: list[EventId] = []
        self._events: list[TurnEvent] = []
        self._last = START
        self._deltas = 0
        self._characters = 0
        self._closed = False
        self._waiting: list[asyncio.Future[None]] = []

    def delta(self, event: TurnEvent) -> None:
        """Publish something that nobody needs once the next fact is known."""
        self._deltas += 1
        if isinstance(event, TextPiece | ReasoningPiece):
            self._characters += len(event.text)
        if self._deltas > _MOST_DELTAS or self._characters > _MOST_CHARACTERS:
            self._forget()
        self._append(EventId(self._last.major, self._last.minor + 1), event)

    def fact(self, major: int, event: TurnEvent) -> None:
        """Publish the run's recorded fact number `major`; one that is known already is left out."""
        if major > self._last.major:
            self._append(EventId(major, 0), event)

    def close(self) -> None:
        """End the watchers' streams once they have seen everything."""
        self._closed = True
        self._wake()

    @property
    def last(self) -> EventId:
        """The id of the newest event."""
        return self._last

    async def events(self, after: EventId | None = None) -> AsyncGenerator[tuple[EventId, TurnEvent], None]:
        """Give every event after one, then those to come, until the hub closes."""
        seen = after or START
        while True:
            index = bisect_right(self._ids, seen)
            if index == len(self._ids):
                if self._closed:
                    return
                news = asyncio.get_running_loop().create_future()
                self._waiting.append(news)
                await news
                continue
            for at, event in _joined(self._ids[index:], self._events[index:]):
                seen = at
                yield at, event

    def _append(self, at: EventId, event: TurnEvent) -> None:
        self._last = at
        self._ids.append(at)
        self._events.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._waiting:
            for news in self._waiting:
                if not news.done():
                    news.set_result(None)
            self._waiting.clear()

    def _forget(self) -> None:
        """Drop the older half of the deltas."""
        many = self._deltas // 2
        kept: list[tuple[EventId, TurnEvent]] = []
        self._deltas = self._characters = 0
        for at, event in zip(self._ids, self._events, strict=True):
            if at.minor and many:
                many -= 1
                continue
            kept.append((at, event))
            if at.minor:
                self._deltas += 1
                self._characters += len(event.text) if isinstance(event, TextPiece | ReasoningPiece) else 0
        self._ids = [at for at, _ in kept]
        self._events = [event for _, event in kept]


def _joined(ids: list[EventId], events: list[TurnEvent]) -> list[tuple[EventId, TurnEvent]]:
    """Join neighbouring pieces of text, at most sixteen; the joined piece has the last one's id."""
    if len(ids) == 1:
        return [(ids[0], events[0])]
    out: list[tuple[EventId, TurnEvent]] = []
    index = 0
    while index < len(ids):
        event = events[index]
        stop = index + 1
        if isinstance(event, TextPiece | ReasoningPiece):
            kind = type(event)
            while stop < len(ids) and stop - index < _TOGETHER and type(events[stop]) is kind:
                stop += 1
            if stop - index > 1:
                event = kind("".join(e.text for e in events[index:stop] if isinstance(e, TextPiece | ReasoningPiece)))
        out.append((ids[stop - 1], event))
        index = stop
    return out
