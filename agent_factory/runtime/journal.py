"""What a run writes: its begin, its steps and its end, each in one statement with those of its neighbours.

A session's revision is odd while a turn of it is under way, so one
compare-and-swap both finds a stale reader and keeps a second turn out. A
process may write to a run only while the run's row names it as owner with the
epoch that it knows; whatever comes too late is `Fenced`.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from agent_factory.core.journal import Entry
from agent_factory.core.message import Message
from agent_factory.database.batches import Lane
from agent_factory.database.pool import Pool
from agent_factory.kit.errors import Conflict, Unavailable
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.statements import AMEND, BEGIN, BEGUN, PUT, SETTLE, SETTLED

Status = Literal["waiting", "completed", "failed", "cancelled"]


class Fenced(Conflict):
    """Another process has taken the run over, so this one may not write to it any more."""

    code = "run_fenced"
    title = "The run was taken over"


class SessionMoved(Conflict):
    """The session is not as its reader knew it: gone, further on, or with a turn under way."""

    code = "session_moved"
    title = "The session has changed"


class VersionMoved(Conflict):
    """The agent's deployed version is not the one that its reader knew."""

    code = "agent_version_moved"
    title = "The agent has changed"


class Begin(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be begun; `definition` is left out where the snapshot is known to be stored.

    With `deployed`, the version has to be the agent's deployed one.
    """

    id: UUID
    organization_id: UUID
    source: str
    agent_id: UUID | None
    agent_version: int | None
    session_id: UUID | None
    revision: int | None
    snapshot: str
    input: str
    created_by: UUID | None
    created_at: datetime
    message: Message
    definition: str | None
    deployed: bool = False
    key_id: UUID | None = None


class Put(msgspec.Struct, frozen=True):
    """Steps of one run to be recorded, each with its ordinal number."""

    id: UUID
    organization_id: UUID
    epoch: int
    entries: Sequence[tuple[int, Entry]]


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an activation of a run: what it left, and what the session gains.

    `seq` is the number of the user's message in the session; `admitted` takes
    its place where a guardrail changed it.
    """

    id: UUID
    organization_id: UUID
    epoch: int
    session_id: UUID | None
    seq: int
    status: Status
    output: str | None
    error: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    duration_ms: int
    at: datetime
    messages: tuple[Message, ...]
    summary: str | None
    entries: Sequence[tuple[int, Entry]]
    admitted: Message | None = None


_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def to_json(value: object) -> str:
    """Write JSON that PostgreSQL can keep: a NUL becomes U+FFFD."""
    text = msgspec.json.encode(value).decode()
    return _NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text


class Writer:
    """Commits the begins, steps and ends of all runs of one process.

    `owner` is the process; `patience` is how many seconds a step or an end
    waits for a database that is away; a begin waits at most one second, for
    somebody is waiting for it.
    """

    def __init__(self, pool: Pool, owner: str, patience: float = 10.0) -> None:
        """Open the three lines; nothing is connected yet."""
        self._pool = pool
        self.owner = owner
        self._begins: Lane[Begin, int] = Lane(self._begin, min(1.0, patience))
        self._puts = Lane(self._put, patience)
        self._settles = Lane(self._settle, patience)

    async def begin(self, op: Begin) -> int:
        """Commit a run and its first message; return the message's number in the session, 0 without one."""
        return await self._begins.submit(op)

    async def put(self, op: Put) -> None:
        """Commit steps, or raise `Fenced`."""
        await self._puts.submit(op)

    async def settle(self, op: Settle) -> None:
        """Commit an end, or raise `Fenced`."""
        await self._settles.submit(op)

    async def idle(self) -> None:
        """Return when nothing is left to be committed."""
        await self._begins.idle()
        await self._puts.idle()
        await self._settles.idle()

    async def _begin(self, ops: Sequence[Begin], again: bool) -> Sequence[int | SessionMoved | VersionMoved]:
        known: dict[UUID, int | None] = {}
        moved: set[UUID] = set()
        if again:
            rows = await self._pool.fetch(BEGUN, [op.id for op in ops], self.owner)
            known = {row["id"]: row["seq"] for row in rows}
        new = sorted((op for op in ops if op.id not in known), key=_lock_order)
        if new:
            for row in await self._pool.fetch(BEGIN, *columns([_begin_row(op) for op in new], 16), self.owner):
                if row["begun"]:
                    known[row["id"]] = row["seq"]
                else:
                    moved.add(row["id"])
        return [(known[op.id] or 0) if op.id in known else _refusal(session=op.id in moved) for op in ops]

    async def _put(self, ops: Sequence[Put], again: bool) -> Sequence[Fenced | None]:  # noqa: ARG002 - a repeated step changes nothing
        rows = await self._pool.fetch(
            PUT,
            [op.id for op in ops],
            [op.epoch for op in ops],
            *columns([row for op in ops for row in entry_rows(op.organization_id, op.id, op.entries)], 13),
            self.owner,
        )
        return _written(ops, {row["id"] for row in rows})

    async def _settle(self, ops: Sequence[Settle], again: bool) -> Sequence[Fenced | None]:
        written: set[UUID] = set()
        if again:
            rows = await self._pool.fetch(SETTLED, *columns([(op.id, op.epoch, op.status) for op in ops], 3))
            written = {row["id"] for row in rows}
        new = sorted((op for op in ops if op.id not in written), key=_lock_order)
        for op in new:
            if op.admitted is not None:
                parts = to_json(op.admitted.parts)
                await self._pool.fetch(
                    AMEND, op.id, op.epoch, self.owner, to_json(op.admitted), op.session_id, op.seq, parts
                )
        if new:
            rows = await self._pool.fetch(
                SETTLE,
                *columns([_settle_row(op) for op in new], 13),
                self.owner,
                *columns([row for op in new for row in entry_rows(op.organization_id, op.id, op.entries)], 13),
                *columns([row for op in new for row in _message_rows(op)], 8),
            )
            written |= {row["id"] for row in rows}
        return _written(ops, written)


def _lock_order(op: Begin | Settle) -> str:
    """Sort by session, so that two processes lock the same rows in the same order."""
    return str(op.session_id)


def _refusal(*, session: bool) -> SessionMoved | VersionMoved:
    if session:
        return SessionMoved("The session has changed since it was read.")
    return VersionMoved("Another version of the agent was deployed, or none is any more.")


def columns(rows: Sequence[tuple[object, ...]], width: int) -> list[Sequence[object]]:
    """Turn rows into the arrays that a statement takes."""
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _written(ops: Sequence[Put] | Sequence[Settle], ids: set[UUID]) -> list[Fenced | None]:
    fenced = Fenced("Another process has taken this run over; what this one did since is dropped.")
    return [None if op.id in ids else fenced for op in ops]


def _begin_row(op: Begin) -> tuple[object, ...]:
    return (
        op.id,
        op.organization_id,
        op.source,
        op.agent_id,
        op.agent_version,
        op.session_id,
        op.revision,
        op.snapshot,
        op.input,
        op.created_by,
        op.created_at,
        uuid7() if op.session_id else None,
        to_json(op.message.parts) if op.session_id else None,
        op.definition,
        op.deployed,
        op.key_id,
    )


def entry_rows(organization_id: UUID, run_id: UUID, entries: Sequence[tuple[int, Entry]]) -> list[tuple[object, ...]]:
    """Write numbered entries as rows of `run_steps`."""
    return [
        (
            organization_id,
            run_id,
            entry.path,
            ordinal,
            entry.kind,
            entry.name,
            None if entry.input == b"null" else to_json(entry.input),
            to_json(entry.output),
            entry.is_error,
            entry.duration_ms,
            entry.input_tokens,
            entry.output_tokens,
            None if entry.cost_usd is None else Decimal(entry.cost_usd),
        )
        for ordinal, entry in entries
    ]


def _settle_row(op: Settle) -> tuple[object, ...]:
    return (
        op.id,
        op.epoch,
        op.session_id,
        op.status,
        op.output,
        op.error,
        op.input_tokens,
        op.output_tokens,
        op.cost_usd,
        op.duration_ms,
        op.at,
        len(op.messages),
        op.summary,
    )


def _message_rows(op: Settle) -> list[tuple[object, ...]]:
    if op.session_id is None:
        return []
    return [
        (
            op.organization_id,
            op.session_id,
            op.seq + index,
            uuid7(),
            op.id,
            message.role,
            to_json(message.parts),
            op.at,
        )
        for index, message in enumerate(op.messages, start=1)
    ]


class RunJournal:
    """The memory of one run, over the writer of its process.

    An entry never overtakes an earlier one of its run: while one is being
    committed, the next waits for its turn, durable or not.
    """

    def __init__(
        self, writer: Writer, run_id: UUID, organization_id: UUID, epoch: int, entries: Sequence[Entry] = ()
    ) -> None:
        """Start with what earlier attempts recorded, in its order."""
        self._writer = writer
        self._run_id = run_id
        self._organization_id = organization_id
        self._epoch = epoch
        self._entries = {entry.path: entry for entry in entries}
        self._ordinals = {entry.path: number for number, entry in enumerate(entries, start=1)}
        self._rest: list[tuple[int, Entry]] = []
        self._writing = 0
        self.broken: Fenced | Unavailable | None = None
        """Why the run can no longer be written to from here, once that is so."""

    def get(self, path: str) -> Entry | None:
        """Return what was recorded for a step, if anything."""
        return self._entries.get(path)

    def ordinal(self, path: str) -> int:
        """Return the number of a recorded step, the first being 1."""
        return self._ordinals[path]

    @property
    def entries(self) -> list[Entry]:
        """Every recorded step, in order."""
        return list(self._entries.values())

    async def put(self, entry: Entry, *, durable: bool) -> None:
        """Record a step; see `core.journal.Journal`."""
        number = len(self._entries) + 1
        self._entries[entry.path] = entry
        self._ordinals[entry.path] = number
        self._rest.append((number, entry))
        if durable or self._writing:
            await self.flush()

    async def flush(self) -> None:
        """Return when every earlier entry is committed."""
        if not self._rest and not self._writing:
            return
        entries = self.take()
        self._writing += 1
        try:
            await self._writer.put(Put(self._run_id, self._organization_id, self._epoch, entries))
        except BaseException as error:
            self._rest[:0] = entries  # writing a step twice does no harm, losing one does
            if isinstance(error, Fenced | Unavailable):
                self.broken = error
            raise
        finally:
            self._writing -= 1

    def take(self) -> list[tuple[int, Entry]]:
        """Hand over the entries that are not committed yet, for the statement that ends the run."""
        entries, self._rest = self._rest, []
        return entries
