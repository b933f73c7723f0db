"""The statements that begin and end workflow runs, each for all that wait for one."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from agent_factory.core.journal import Entry
from agent_factory.database.batches import Lane
from agent_factory.database.pool import Pool
from agent_factory.kit.errors import Conflict
from agent_factory.runtime.journal import Fenced, columns, entry_rows
from agent_factory.runtime.queue.statements import ENQUEUE, ENQUEUED, SETTLE, SETTLED

_PATIENCE_OF_STARTS = 1.0
"""Seconds that a start waits for a database that is away: somebody waits for it."""


class Enqueue(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be queued; `definition` is left out where the snapshot is known to be stored."""

    id: UUID
    organization_id: UUID
    source: str
    workflow_id: UUID | None
    workflow_version: int | None
    trigger: str | None
    priority: int
    snapshot: str
    input: str
    created_by: UUID | None
    created_at: datetime
    forked_from: UUID | None
    parent_run: UUID | None
    parent_path: str | None
    definition: str | None
    key_id: UUID | None = None


WIDTH = len(Enqueue.__struct_fields__)


class SettleFlow(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an activation; a run that would wait goes on where `signals` has moved since it was claimed."""

    id: UUID
    organization_id: UUID
    epoch: int
    status: Literal["waiting", "completed", "failed"]
    output: str | None
    error: str | None
    labels: str
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    at: datetime
    signals: int
    entries: Sequence[tuple[int, Entry]]


class FlowWriter:
    """Commits the starts and ends of all workflow runs of one process."""

    def __init__(self, pool: Pool, owner: str, patience: float) -> None:
        """Open the two lines; nothing is connected yet."""
        self._pool = pool
        self._owner = owner
        self._starts: Lane[Enqueue, bool] = Lane(self._start, min(_PATIENCE_OF_STARTS, patience))
        self._settles: Lane[SettleFlow, str] = Lane(self._settle, patience)

    async def start(self, op: Enqueue) -> bool:
        """Commit a pending run; tells whether it is new. Raises `Conflict` for an id that is no workflow run's."""
        return await self._starts.submit(op)

    async def settle(self, op: SettleFlow) -> str:
        """Commit an end and return the run's status, or raise `Fenced`."""
        return await self._settles.submit(op)

    async def idle(self) -> None:
        """Return when nothing is left to be committed."""
        await self._starts.idle()
        await self._settles.idle()

    async def _start(self, ops: Sequence[Enqueue], again: bool) -> Sequence[bool | Conflict]:  # noqa: ARG002 - an id that exists changes nothing
        rows = await self._pool.fetch(ENQUEUE, *columns([row_of(op) for op in ops], WIDTH))
        new = {row["id"] for row in rows if row["new"]}
        old = [op.id for op in ops if op.id not in new]
        known = {row["id"] for row in await self._pool.fetch(ENQUEUED, old)} if old else set[UUID]()
        taken = Conflict("There is a run with this id that is no workflow's.")
        outcomes: list[bool | Conflict] = []
        for op in ops:
            outcomes.append(True if op.id in new else op.id not in known and taken)
            if op.id in new:
                new.discard(op.id)  # the same id twice in one batch is new once
                known.add(op.id)
        return outcomes

    async def _settle(self, ops: Sequence[SettleFlow], again: bool) -> Sequence[str | Fenced]:
        written: dict[UUID, str] = {}
        if again:
            rows = await self._pool.fetch(SETTLED, *columns([(op.id, op.epoch, op.status) for op in ops], 3))
            written = {row["id"]: row["status"] for row in rows}
        new = sorted((op for op in ops if op.id not in written), key=lambda op: op.id)
        if new:
            rows = await self._pool.fetch(
                SETTLE,
                *columns([_settle_row(op) for op in new], 11),
                self._owner,
                *columns([row for op in new for row in entry_rows(op.organization_id, op.id, op.entries)], 13),
            )
            written |= {row["id"]: row["status"] for row in rows}
        fenced = Fenced("Another process has taken this run over; what this one did since is dropped.")
        return [written.get(op.id, fenced) for op in ops]


def row_of(op: Enqueue) -> tuple[object, ...]:
    """Write a start as `ENQUEUE` takes it."""
    return tuple(getattr(op, name) for name in Enqueue.__struct_fields__)


def _settle_row(op: SettleFlow) -> tuple[object, ...]:
    return (
        op.id,
        op.epoch,
        op.status,
        op.output,
        op.error,
        op.labels,
        op.input_tokens,
        op.output_tokens,
        op.cost_usd,
        op.at,
        op.signals,
    )
