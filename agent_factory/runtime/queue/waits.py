"""What runs wait for: registered at once, fired by time, people and events, and noted in the journal."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from agent_factory.core.journal import Entry
from agent_factory.database.pool import Pool
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.flow.outcome import WaitFor
from agent_factory.runtime.journal import Fenced, to_json
from agent_factory.runtime.queue.journal import FlowJournal
from agent_factory.runtime.queue.statements import FORGET_WAITS, KEEP_WAITS, REGISTER, RESOLVED

Decided = Literal["approved", "denied"]


class Decision(msgspec.Struct, frozen=True):
    """What a person says to an approval; `by` is who, as runs see it."""

    approved: bool
    by: str = ""
    comment: str = ""
    user_id: UUID | None = None


class Waits:
    """The door of one run at work; see `runtime.flow.context.WaitDoor`."""

    def __init__(self, pool: Pool, run_id: UUID, epoch: int, owner: str, timed: Callable[[], None]) -> None:
        """Start without having registered any; `timed` is called for each that has a time."""
        self._pool = pool
        self._run_id = run_id
        self._epoch = epoch
        self._owner = owner
        self._timed = timed
        self._registered: set[str] = set()

    async def register(self, wait: WaitFor) -> bool:
        """Make a wait known at once; the first of a path counts. Raises `Fenced`."""
        if wait.path in self._registered:
            return False
        data = wait.data
        row = await self._pool.fetchrow(
            REGISTER,
            self._run_id,
            self._epoch,
            self._owner,
            wait.path,
            wait.kind,
            None if wait.wake_at is None else datetime.fromisoformat(wait.wake_at),
            wait.event_type,
            to_json(data),
            uuid7(),
            str(data.get("title") or ""),
            to_json(data.get("details")),
            [str(each) for each in data.get("roles") or ()],
            [str(each) for each in data.get("users") or ()],
            data.get("default"),
            again=True,
        )
        if row is None:
            raise Fenced("Another process has taken this run over; what this one did since is dropped.")
        self._registered.add(wait.path)
        if wait.wake_at is not None:
            self._timed()
        return bool(row["new"])

    async def settle(self, waits: tuple[WaitFor, ...]) -> None:
        """Make sure that exactly these are known before the run ends its activation to wait for them."""
        paths = {wait.path for wait in waits}
        for wait in waits:
            await self.register(wait)
        if self._registered - paths:
            await self._pool.execute(KEEP_WAITS, self._run_id, list(paths))


async def note(pool: Pool, run_id: UUID, journal: FlowJournal) -> bool:
    """Record in the journal what has come since the run began to wait for it; tells whether anything has."""
    rows = await pool.fetch(RESOLVED, run_id, again=True)
    if not rows:
        return False
    for row in rows:
        await journal.note(
            Entry(
                path=row["path"],
                kind="wait",
                name=row["kind"],
                input=msgspec.Raw(row["data"].encode()),
                output=msgspec.Raw((row["result"] or "{}").encode()),
            )
        )
    await journal.flush()
    await pool.execute(FORGET_WAITS, run_id, [row["path"] for row in rows], again=True)
    return True


def decided(decision: Decision) -> dict[str, Any]:
    """Write a decision as the outcome that ends its wait."""
    return {"output": {"approved": decision.approved, "by": decision.by, "comment": decision.comment}}
