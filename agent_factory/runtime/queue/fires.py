"""What comes for a run while this process works on it (S97)."""

import asyncio
from collections.abc import Callable, Sequence

from agent_factory.database.pool import Pool
from agent_factory.runtime.flow.outcome import WaitFor
from agent_factory.runtime.queue.activation import Claimed, needed
from agent_factory.runtime.queue.journal import FlowJournal
from agent_factory.runtime.queue.rows import read_entries, read_paths
from agent_factory.runtime.queue.snapshots import Pinned
from agent_factory.runtime.queue.statements import SIGNALS
from agent_factory.runtime.queue.waits import note

_UNSEEN = -1
"""No run has had so many signals: one that would wait goes on."""


class Fires:
    """The door of one run; see `runtime.flow.fires.FireDoor`."""

    def __init__(self, pool: Pool, run: Claimed, journal: FlowJournal, pinned: Pinned) -> None:
        """Start with what was known when the run was claimed."""
        self._pool = pool
        self._run = run
        self._journal = journal
        self._pinned = pinned
        self._looking = asyncio.Lock()
        self._closed = False
        self._signals = run.signals
        self.listeners: set[Callable[[], None]] = set()

    async def look(self) -> None:
        """Note in the journal what has come, and tell those that wait for it."""
        async with self._looking:
            if self._closed:
                return
            # counted first: what comes from here on is counted once more
            signals: int = await self._pool.fetchval(SIGNALS, self._run.id, again=True)
            if await note(self._pool, self._run.id, self._journal):
                self._signals = signals
        for listener in list(self.listeners):
            listener()

    async def reload(self, path: str) -> None:
        """Have the journal know again what is recorded at a path and below it."""
        await self._journal.flush()
        organization_id, run_id = self._run.organization_id, self._run.id
        known = await read_paths(self._pool, organization_id, run_id, path)
        self._journal.know(await read_entries(self._pool, organization_id, run_id, needed(known, self._pinned)))

    async def close(self, waits: Sequence[WaitFor]) -> int:
        """Note nothing more; gives how many signals the run has taken note of when it begins to wait."""
        async with self._looking:
            self._closed = True
        came = any(self._journal.get(wait.path) is not None for wait in waits)
        return _UNSEEN if came else self._signals
