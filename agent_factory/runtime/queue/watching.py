"""A run as a watcher sees it: its steps in order, what it asks people, what it waits for, and its end."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.event import ApprovalNeeded, RunWaiting, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.database.pool import Pool
from agent_factory.runtime.flow.outcome import question
from agent_factory.runtime.hub import EventId
from agent_factory.runtime.queue.feed import Feed
from agent_factory.runtime.queue.live import LiveFlow
from agent_factory.runtime.queue.pokes import Pokes, wait_at_most
from agent_factory.runtime.queue.rows import FlowRun, Reader, end_event, read_page, task_event
from agent_factory.runtime.queue.statements import LAST, OPEN_WAITS
from agent_factory.runtime.rows import step_event

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds between looks at a run that another process works on."""

Told = AsyncGenerator[tuple[EventId, TurnEvent], None]


class Sources(msgspec.Struct, frozen=True):
    """Where news of runs come from: the rows, and what this process works on."""

    pool: Pool
    reader: Reader
    live: Mapping[UUID, LiveFlow]
    pokes: Pokes


class Watch:
    """One watcher of one run; `seen` is the last event that he knows.

    What is recorded, and what is asked and waited for now, is told to
    everybody, whenever he comes; what lies between only to those who watch
    while it happens, in this process.
    """

    def __init__(self, sources: Sources, run: FlowRun, seen: EventId) -> None:
        """Begin after an event."""
        self._from = sources
        self._pool = sources.pool
        self._id = run.id
        self._organization_id = run.organization_id
        self._seen = seen
        self._asked: set[str] = set()
        self._waited = False

    async def events(self) -> Told:
        """Give the run's events to its end."""
        pause = FIRST_PAUSE
        with self._from.pokes.of(self._id) as poke:
            while True:
                poke.clear()
                live = self._from.live.get(self._id)
                if live is not None and live.feed is not None:
                    async for pair in self._fed(live.feed):
                        yield pair
                        if isinstance(pair[1], TurnCompleted | TurnFailed):
                            return
                run = await self._from.reader.run(self._organization_id, self._id)
                before = self._seen
                async for pair in self._recorded():
                    yield pair
                if run.ended:
                    at = EventId(await self._pool.fetchval(LAST, self._id, again=True) + 2, 0)
                    end = end_event(run)
                    if at > self._seen and end is not None:
                        yield at, end
                    return
                async for pair in self._open(told=run.status == "waiting"):
                    yield pair
                pause = FIRST_PAUSE if self._seen > before else min(pause * 1.5, LONGEST_PAUSE)
                await wait_at_most(poke, pause)

    async def _fed(self, feed: Feed) -> Told:
        """Give what a feed tells, after the questions that were asked before."""
        news = feed.events(self._seen)
        async for pair in self._open(told=False):
            yield pair
        async for at, event in news:
            if isinstance(event, ApprovalNeeded):
                if event.path in self._asked:
                    continue
                self._asked.add(event.path)
            if at <= self._seen and not at.minor:
                continue  # a recorded step that was read from the rows
            self._seen = max(at, EventId(self._seen.major, self._seen.minor + 1))
            self._waited = isinstance(event, RunWaiting)
            yield self._seen, event

    async def _recorded(self) -> Told:
        """Give what the rows tell; those that tell nothing move on all the same."""
        calls: dict[str, str] = {}
        while page := await read_page(self._pool, self._organization_id, self._id, self._seen.major - 1):
            for number, entry in page:
                self._seen = EventId(number + 1, 0)
                event = task_event(entry) if entry.kind == "task" else step_event(entry, calls)
                if event is not None:
                    yield self._seen, event

    async def _open(self, *, told: bool) -> Told:
        """Give the open questions that this watcher has not seen and, with `told`, once, that the run waits."""
        rows = await self._pool.fetch(OPEN_WAITS, self._id, again=True)
        for row in rows:
            if row["kind"] == "approval" and row["path"] not in self._asked:
                self._asked.add(row["path"])
                yield self._next(), question(row["path"], msgspec.json.decode(row["data"]))
        if told and not self._waited:
            waits: list[dict[str, Any]] = [
                {name: row[name] for name in ("path", "kind", "wake_at", "event_type")} for row in rows
            ]
            yield self._next(), RunWaiting(tuple(waits))
        self._waited = told

    def _next(self) -> EventId:
        self._seen = EventId(self._seen.major, self._seen.minor + 1)
        return self._seen
