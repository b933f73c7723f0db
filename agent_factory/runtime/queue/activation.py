"""One stretch of work on a run: from its journal to its end, or to where it has to wait."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.event import (
    ModelFinished,
    RunWaiting,
    TaskFinished,
    ToolFinished,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
)
from agent_factory.core.model import Usage
from agent_factory.core.workflow import all_nodes
from agent_factory.database.pool import Pool
from agent_factory.kit.money import usd
from agent_factory.runtime.flow.outcome import Completed, Failed, FlowEnd, Waiting
from agent_factory.runtime.journal import Writer, to_json
from agent_factory.runtime.queue.feed import Feed
from agent_factory.runtime.queue.journal import FlowJournal, Spent
from agent_factory.runtime.queue.rows import Known, read_entries, read_paths
from agent_factory.runtime.queue.snapshots import Pinned
from agent_factory.runtime.queue.statements import SPENT
from agent_factory.runtime.queue.waits import note
from agent_factory.runtime.queue.writing import SettleFlow

_LAST = re.compile(r"(?:/[^/\[#]*|\[[0-9]+\]|#[0-9]+)\Z")
"""The last step of a path: a name, an index or an attempt."""


class Claimed(msgspec.Struct, frozen=True):
    """A run as a worker gets it."""

    id: UUID
    organization_id: UUID
    snapshot: str
    priority: int
    input: str | None
    epoch: int
    attempts: int
    progress: int
    signals: int
    started_at: datetime
    forked: bool
    key_id: UUID | None = None

    @property
    def fresh(self) -> bool:
        """Whether nothing can be recorded yet."""
        return self.epoch == 1 and not self.forked and not self.signals


async def open_journal(pool: Pool, writer: Writer, run: Claimed, pinned: Pinned) -> FlowJournal:
    """Make a run's journal with what an interpreter may ask for, and note in it what the run had waited for."""
    if run.fresh:
        return FlowJournal(writer, run.id, run.organization_id, run.epoch)
    known = await read_paths(pool, run.organization_id, run.id)
    recorded = await read_entries(pool, run.organization_id, run.id, needed(known, pinned))
    spent = await pool.fetchrow(SPENT, run.id, again=True)
    assert spent is not None
    journal = FlowJournal(
        writer,
        run.id,
        run.organization_id,
        run.epoch,
        recorded=recorded,
        last=known[-1].ord if known else 0,
        spent=Spent(spent["input_tokens"], spent["output_tokens"], spent["cost_usd"]),
    )
    if run.signals:
        await note(pool, run.id, journal)
    return journal


def needed(known: list[Known], pinned: Pinned) -> list[str]:
    """Leave out what lies inside a task that is recorded itself: nobody asks for it any more.

    But where a task can be undone, everything inside the tasks around it is walked again.
    """
    if any(node.undo is not None for flow in (pinned.flow, *pinned.flows.values()) for node in all_nodes(flow.graph)):
        return [one.path for one in known]
    paths = {one.path for one in known}
    return [path for path in paths if not any(above in paths for above in _above(path))]


def _above(path: str) -> list[str]:
    """List the paths around one: those of `each#2[3]/get` are `each#2[3]`, `each#2` and `each`."""
    found: list[str] = []
    while True:
        shorter = _LAST.sub("", path)
        if not shorter or shorter == path:
            return found
        found.append(shorter)
        path = shorter


def teller(feed: Feed, journal: FlowJournal) -> Callable[[TurnEvent], None]:
    """Make the function that tells a run's events to its watchers: recorded ones by their number."""

    def emit(event: TurnEvent) -> None:
        number = journal.number(event.path) if isinstance(event, TaskFinished | ModelFinished | ToolFinished) else None
        if number is None:
            feed.delta(event)
        else:
            feed.fact(number + 1, event)

    return emit


def settlement(run: Claimed, end: FlowEnd, journal: FlowJournal, at: datetime, signals: int) -> SettleFlow:
    """Write an end as the row changes that it means; `signals` are those that were taken note of."""
    output = error = None
    labels: tuple[str, ...] = ()
    match end:
        case Completed():
            output, labels = to_json({"output": end.output}), end.labels
        case Failed():
            error = to_json({**end.problem, "path": end.path})
        case Waiting():
            pass
    return SettleFlow(
        id=run.id,
        organization_id=run.organization_id,
        epoch=run.epoch,
        status="completed" if output else "failed" if error else "waiting",
        output=output,
        error=error,
        labels=to_json(labels),
        input_tokens=journal.spent.input_tokens,
        output_tokens=journal.spent.output_tokens,
        cost_usd=journal.spent.cost_usd,
        at=at,
        signals=signals,
        entries=journal.take(),
    )


def told(end: FlowEnd, spent: Spent) -> TurnEvent:
    """Tell an end to watchers."""
    usage = Usage(spent.input_tokens, spent.output_tokens)
    cost = None if spent.cost_usd is None else usd(spent.cost_usd)
    match end:
        case Completed():
            return TurnCompleted("", (), usage, msgspec.to_builtins(end.output), cost)
        case Failed():
            return TurnFailed({**end.problem, "path": end.path}, (), usage, cost)
        case Waiting():
            waits: list[dict[str, Any]] = [
                {"path": w.path, "kind": w.kind, "wake_at": w.wake_at, "event_type": w.event_type} for w in end.waits
            ]
            return RunWaiting(tuple(waits))
