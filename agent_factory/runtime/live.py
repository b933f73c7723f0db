"""A run that this process works on, and how anybody follows one that it does not."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from uuid import UUID

from agent_factory.core.event import TurnEvent, TurnFailed
from agent_factory.core.journal import Entry
from agent_factory.database.pool import Pool
from agent_factory.kit.errors import Problem
from agent_factory.runtime.hub import START, EventId, Hub
from agent_factory.runtime.journal import Settle
from agent_factory.runtime.rows import end_event, read_run, read_steps, step_events
from agent_factory.runtime.scope import TurnEnd

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0
"""Seconds between looks at a run that another process works on."""


class LiveRun:
    """A run in progress here. Its events may be watched by many, each at his own pace."""

    def __init__(
        self,
        pool: Pool,
        run_id: UUID,
        organization_id: UUID,
        session_id: UUID | None,
        started_at: datetime,
    ) -> None:
        """Start without an event."""
        loop = asyncio.get_running_loop()
        self.id = run_id
        self.organization_id = organization_id
        self.session_id = session_id
        self.started_at = started_at
        self.settled: Settle | None = None
        """What the database has of the end, once it is committed from here."""
        self.lost: Problem | None = None
        """Why the end could not be committed; the run goes on once that is possible."""
        self.hub = Hub()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.task: asyncio.Task[None] | None = None
        self.leaving = False
        """Whether this process gives the run up without ending it."""
        self._pool = pool
        self._end: asyncio.Future[TurnEnd | None] = loop.create_future()
        self._settling = False

    async def events(self, after: EventId | None = None) -> AsyncGenerator[tuple[EventId, TurnEvent], None]:
        """Give every event after one, up to the run's end or its question to a person.

        A run that another process takes over is followed there.
        """
        async for at, event in self.hub.events(after):
            after = at
            yield at, event
        if self._end.done() and self._end.result() is None:
            async for at, event in follow(self._pool, self.organization_id, self.id, after):
                yield at, event

    async def wait(self) -> TurnEnd:
        """Return how the run ended, or its question; a waiter who is cancelled does not stop the run."""
        end = await asyncio.shield(self._end)
        if end is not None:
            return end
        last: TurnEvent | None = None
        async for _, event in follow(self._pool, self.organization_id, self.id, self.hub.last):
            last = event
        assert last is not None
        return last  # type: ignore[return-value]

    def refuse(self, error: Exception) -> None:
        """Tell whoever waits for the begin why there is none."""
        self.begun.set_exception(error)
        self.begun.exception()  # nobody has to be waiting any more
        self.move()

    def cancel(self) -> None:
        """Stop the turn; what it has done so far stays. Has no effect on a run that is ending."""
        if self.task is not None and not self._settling:
            self._settling = True
            self.task.cancel()

    def leave(self) -> None:
        """Stop working on the run without ending it: another process has it, or will."""
        self.leaving = True
        if self.task is not None:
            self.task.cancel()

    def settling(self) -> None:
        """Note that the end is being written, so that nobody cancels it any more."""
        self._settling = True

    def finish(self, major: int, end: TurnEnd, settled: Settle) -> None:
        """Tell the end, which is committed."""
        if not self._end.done():
            self.settled = settled
            self.hub.fact(major, end)
            self._end.set_result(end)
            self.hub.close()

    def lose(self, problem: Problem) -> None:
        """Tell that the run could not be written to; it goes on by itself once that is possible."""
        if not self._end.done():
            self.lost = problem
            end = TurnFailed(problem.as_dict())
            self.hub.delta(end)
            self._end.set_result(end)
            self.hub.close()

    def move(self) -> None:
        """Send the watchers to the rows, where another process goes on."""
        if not self._end.done():
            self._end.set_result(None)
            self.hub.close()


async def follow(
    pool: Pool, organization_id: UUID, run_id: UUID, after: EventId | None = None
) -> AsyncGenerator[tuple[EventId, TurnEvent], None]:
    """Give a run's events after one as its rows tell them, up to its end or its question.

    Deltas are not recorded: the completed message after them says the same.
    Raises `RunNotFound`.
    """
    seen = after or START
    steps: list[tuple[int, Entry]] = []
    pause = _FIRST_PAUSE
    while True:
        run = await read_run(pool, organization_id, run_id)
        fresh = await read_steps(pool, organization_id, run_id, steps[-1][0] if steps else 0)
        if fresh:
            steps += fresh
            pause = _FIRST_PAUSE
            for at, event in step_events(steps):
                if at > seen:
                    seen = at
                    yield at, event
        end = await end_event(pool, run)
        if end is not None:
            at = EventId((steps[-1][0] if steps else 0) + 2, 0)
            if at > seen:
                yield at, end
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
