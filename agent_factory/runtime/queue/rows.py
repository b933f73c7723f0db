"""Workflow runs as the database knows them."""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.event import TaskFinished, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.core.journal import Entry
from agent_factory.core.model import Usage
from agent_factory.database.batches import Lane
from agent_factory.database.driver import Row
from agent_factory.database.pool import Pool
from agent_factory.kit.errors import NotFound, Problem
from agent_factory.kit.money import usd
from agent_factory.runtime.flow.context import read_outcome
from agent_factory.runtime.queue.statements import ENTRIES, PAGE, PATHS, RUNS
from agent_factory.runtime.rows import RunNotFound

_ENDED = frozenset({"completed", "failed", "cancelled"})
_PART = re.compile(r"(?:\]|#[0-9]+)\Z")
"""How the path of an item of a map, or of an attempt at a task, ends."""

_SOME = 500
"""Rows that are read at a time."""


class FlowRun(msgspec.Struct, frozen=True):
    """A workflow run's row."""

    id: UUID
    organization_id: UUID
    kind: str
    source: str
    status: str
    workflow_id: UUID | None
    workflow_version: int | None
    snapshot: str
    priority: int
    trigger: str | None
    labels: list[str]
    input: str | None
    output: str | None
    error: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    epoch: int
    created_by: UUID | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    forked_from: UUID | None
    parent_run: UUID | None
    parent_path: str | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the run by itself."""
        return self.status in _ENDED

    def document(self) -> Any:  # noqa: ANN401 - any JSON value
        """Give the input that the run was started with."""
        return read_input(self.input)

    def result(self) -> Any:  # noqa: ANN401 - any JSON value
        """Give the output of a completed run; a large one is `{"$payload": …}`."""
        return None if self.output is None else msgspec.json.decode(self.output).get("output")

    def problem(self) -> dict[str, Any] | None:
        """Give why the run failed or was cancelled."""
        return None if self.error is None else msgspec.json.decode(self.error)


def read_input(stored: str | None) -> Any:  # noqa: ANN401 - any JSON value
    """Read a run's input as it is stored; `NotFound` where it was erased."""
    if stored is None:
        raise NotFound("What the run was asked for was erased.")
    return msgspec.json.decode(stored)["input"]


class Reader:
    """Reads workflow runs; those that are asked for at one time come in one statement."""

    def __init__(self, pool: Pool, patience: float) -> None:
        """Read from a pool, for as long as an operation waits for a database that is away."""
        self._pool = pool
        self._lane: Lane[tuple[UUID, UUID], FlowRun] = Lane(self._read, patience)

    async def run(self, organization_id: UUID, run_id: UUID) -> FlowRun:
        """Give a workflow run; one of others, or of an agent, is `RunNotFound`."""
        return await self._lane.submit((run_id, organization_id))

    async def _read(self, asked: Sequence[tuple[UUID, UUID]], _again: bool) -> list[FlowRun | Problem]:
        runs, owners = zip(*asked, strict=True)
        rows = await self._pool.fetch(RUNS, runs, owners, again=True)
        found = {
            (row["id"], row["organization_id"]): FlowRun(**{name: row[name] for name in FlowRun.__struct_fields__})
            for row in rows
        }
        return [found.get(one) or RunNotFound("There is no such workflow run, or it is not yours.") for one in asked]


class Known(msgspec.Struct, frozen=True):
    """That a step is recorded."""

    path: str
    ord: int
    kind: str
    name: str
    is_error: bool


async def read_paths(pool: Pool, organization_id: UUID, run_id: UUID, below: str = "") -> list[Known]:
    """List what a run has recorded, in order, without the values; all of it, or what begins with a path."""
    rows = await pool.fetch(PATHS, run_id, organization_id, below, again=True)
    return [Known(row["path"], row["ord"], row["kind"], row["name"], row["is_error"]) for row in rows]


async def read_entries(pool: Pool, organization_id: UUID, run_id: UUID, paths: Sequence[str]) -> dict[str, Entry]:
    """Read recorded steps by their paths."""
    found: dict[str, Entry] = {}
    for start in range(0, len(paths), _SOME):
        some = list(paths[start : start + _SOME])
        for row in await pool.fetch(ENTRIES, run_id, organization_id, some, again=True):
            found[row["path"]] = entry_of(row)
    return found


async def read_page(pool: Pool, organization_id: UUID, run_id: UUID, after: int) -> list[tuple[int, Entry]]:
    """Read the next recorded steps after a number, in order; none at the end."""
    rows = await pool.fetch(PAGE, run_id, organization_id, after, _SOME, again=True)
    return [(row["ord"], entry_of(row)) for row in rows]


def entry_of(row: Row) -> Entry:
    """Make an entry of a row."""
    return Entry(
        path=row["path"],
        kind=row["kind"],
        name=row["name"],
        input=msgspec.Raw((row["input"] or "null").encode()),
        output=msgspec.Raw((row["output"] or "null").encode()),
        is_error=row["is_error"],
        duration_ms=row["duration_ms"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cost_usd=None if row["cost_usd"] is None else f"{row['cost_usd']:f}",
    )


def task_event(entry: Entry) -> TaskFinished | None:
    """Tell a recorded task as it was told when it ended; items and attempts were not."""
    if _PART.search(entry.path):
        return None
    outcome = read_outcome(entry)
    task = entry.path.rpartition("/")[2].partition("[")[0]
    return TaskFinished(entry.path, task, entry.name, outcome.status, entry.duration_ms, outcome.error)


def end_event(run: FlowRun) -> TurnEvent | None:
    """Tell a run's end; None where it has not ended."""
    if not run.ended:
        return None
    usage = Usage(run.input_tokens, run.output_tokens)
    cost = None if run.cost_usd is None else usd(run.cost_usd)
    if run.status == "completed":
        return TurnCompleted("", (), usage, run.result(), cost)
    return TurnFailed(run.problem() or {}, (), usage, cost)
