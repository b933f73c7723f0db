"""Starts, steers and watches workflow runs, wherever they are worked on; see the package."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.agent import Agent
from agent_factory.core.event import TurnEvent
from agent_factory.core.workflow import Flow
from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.ledger import Ledger
from agent_factory.enterprise.multitenancy.limits import Spender
from agent_factory.kit.clock import now
from agent_factory.kit.ids import encode, uuid7
from agent_factory.runtime.errors import RunEnded, RunNotWaiting
from agent_factory.runtime.flow.variables import MemoryPayloads, Payloads
from agent_factory.runtime.hub import START, EventId
from agent_factory.runtime.journal import columns, to_json
from agent_factory.runtime.queue import events
from agent_factory.runtime.queue.live import LiveFlow
from agent_factory.runtime.queue.pokes import Pokes, wait_at_most
from agent_factory.runtime.queue.rows import FlowRun, Reader
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.runtime.queue.snapshots import Pinned, Snapshots
from agent_factory.runtime.queue.statements import CANCEL, DECIDE, ENQUEUE, OPEN_WAITS
from agent_factory.runtime.queue.waits import Decision, decided
from agent_factory.runtime.queue.watching import FIRST_PAUSE, LONGEST_PAUSE, Sources, Watch
from agent_factory.runtime.queue.writing import WIDTH, Enqueue, FlowWriter, row_of
from agent_factory.runtime.turn import RunCancelled

_STORED_FOR = 12 * 3600.0
"""Seconds for which a snapshot is known to be stored; the shortest time for which runs are kept is longer."""


class StartRun(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow run to be queued.

    `agents` and `flows` are everything that the workflow names, by
    `core.workflow.pinned_name`. A run with the `id` of one that exists is not
    started again. Runs with a higher `priority` go first, within their
    organisation. `trigger` says what started it: `manual`, `webhook`, `cron`,
    `event`, `workflow`; `parent` is the run and the path of the task that did.
    """

    organization_id: UUID
    flow: Flow
    input: Any = None
    agents: Mapping[str, Agent] = {}
    flows: Mapping[str, Flow] = {}
    id: UUID | None = None
    workflow_id: UUID | None = None
    workflow_version: int | None = None
    user_id: UUID | None = None
    key_id: UUID | None = None
    priority: int = 0
    trigger: str = "manual"
    source: str = "api"
    parent: tuple[UUID, str] | None = None
    forked_from: UUID | None = None


class Started(msgspec.Struct, frozen=True):
    """A run that is committed; `new` is false where there was one with this id."""

    id: UUID
    new: bool
    created_at: datetime


class Queue:
    """The workflow runs of one database, as any process sees them.

    `payloads` gives the store of an organisation's large values.
    """

    def __init__(
        self,
        database: Database,
        settings: QueueSettings | None = None,
        payloads: Callable[[UUID], Payloads] | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """Prepare; nothing is connected before the first run."""
        settings = settings or QueueSettings()
        self.pool = database.pool
        self.ledger = ledger or Ledger(self.pool, "")
        """What runs may use."""
        self._writer = FlowWriter(self.pool, "", settings.patience)
        self._reader = Reader(self.pool, settings.patience)
        self._stored: dict[tuple[UUID, str], float] = {}
        self.pokes = Pokes()
        """Who waits for news of a run in this process."""
        self._listeners: list[Callable[[], None]] = []
        self._memory = MemoryPayloads()
        self.payloads: Callable[[UUID], Payloads] = payloads or self._in_memory
        self.snapshots = Snapshots(self.pool)
        self.live: dict[UUID, LiveFlow] = {}
        """The runs that this process works on."""
        self.subscribers: list[events.Subscriber] = []
        """Who hears of every event, beside the runs that wait for one."""

    def _in_memory(self, _organization_id: UUID) -> Payloads:
        return self._memory

    def on_work(self, callback: Callable[[], None]) -> None:
        """Have a worker of this process called when there is something to do."""
        self._listeners.append(callback)

    def nudge(self) -> None:
        """Call the workers of this process."""
        for callback in self._listeners:
            callback()

    async def start(self, start: StartRun) -> Started:
        """Queue a run; it is committed when this returns.

        Raises `Conflict` for an id that is an agent run's, `BudgetExceeded` and
        `QuotaExceeded` where nothing is left for it.
        """
        pinned = self.snapshots.of(start.flow, start.agents, start.flows)
        op = await self._enqueued(start, pinned)
        async with self.ledger.one_run(spender_of(start)) as counted:
            counted.new = new = await self._writer.start(op)
        self.stored(start.organization_id, op.snapshot, pinned)
        if new:
            self.nudge()
        return Started(op.id, new, op.created_at)

    async def start_with(
        self, start: StartRun, pinned: Pinned, statement: str, source: UUID, paths: list[str]
    ) -> Started:
        """Queue a run together with steps of another one, all or nothing."""
        op = await self._enqueued(start, pinned)
        async with self.ledger.one_run(spender_of(start)) as counted, self.pool.transaction() as connection:
            rows = await connection.fetch(ENQUEUE, *columns([row_of(op)], WIDTH))
            counted.new = new = bool(rows[0]["new"])
            if new:
                await connection.execute(statement, source, op.id, start.organization_id, paths)
        self.stored(start.organization_id, op.snapshot, pinned)
        self.nudge()
        return Started(op.id, new, op.created_at)

    async def _enqueued(self, start: StartRun, pinned: Pinned) -> Enqueue:
        """Write a start as the row that it becomes."""
        snapshot, definition = await self.snapshots.written(pinned)
        known = self._stored.get((start.organization_id, snapshot), 0.0) > time.monotonic()
        return Enqueue(
            id=start.id or uuid7(),
            organization_id=start.organization_id,
            source=start.source,
            workflow_id=start.workflow_id,
            workflow_version=start.workflow_version,
            trigger=start.trigger,
            priority=start.priority,
            snapshot=snapshot,
            input=to_json({"input": start.input}),
            created_by=start.user_id,
            created_at=now(),
            forked_from=start.forked_from,
            parent_run=start.parent[0] if start.parent else None,
            parent_path=start.parent[1] if start.parent else None,
            definition=None if known else definition,
            key_id=start.key_id,
        )

    def stored(self, organization_id: UUID, snapshot: str, pinned: Pinned) -> None:
        """Note that the database holds a snapshot."""
        self.snapshots.keep(organization_id, snapshot, pinned)
        if len(self._stored) >= 8192:  # noqa: PLR2004 - more than are in use at a time
            self._stored.clear()
        self._stored.setdefault((organization_id, snapshot), time.monotonic() + _STORED_FOR)

    async def run(self, organization_id: UUID, run_id: UUID) -> FlowRun:
        """Give a run as it is; raises `RunNotFound`."""
        return await self._reader.run(organization_id, run_id)

    async def settled(self, organization_id: UUID, run_id: UUID, seconds: float) -> FlowRun:
        """Give a run once it has ended or waits for a person, after `seconds` as it is then; raises `RunNotFound`."""
        until = time.monotonic() + seconds
        pause = FIRST_PAUSE
        with self.pokes.of(run_id) as poke:
            while True:
                poke.clear()
                run = await self.run(organization_id, run_id)
                left = until - time.monotonic()
                if run.ended or left <= 0 or (run.status == "waiting" and await self._asks(run_id)):
                    return run
                await wait_at_most(poke, min(pause, left))
                pause = min(pause * 1.5, LONGEST_PAUSE)

    async def watch(
        self, organization_id: UUID, run_id: UUID, after: EventId | None = None
    ) -> AsyncGenerator[tuple[EventId, TurnEvent], None]:
        """Give a run's events after one to its end, wherever it is worked on; raises `RunNotFound` before the first.

        See `Watch` for what is told to whom.
        """
        run = await self.run(organization_id, run_id)
        return Watch(Sources(self.pool, self._reader, self.live, self.pokes), run, after or START).events()

    async def cancel(self, organization_id: UUID, run_id: UUID) -> None:
        """End a run as cancelled, wherever it is; committed when this returns.

        Raises `RunNotFound`, or `RunEnded` for one that ended otherwise.
        """
        problem = to_json(RunCancelled("Somebody cancelled the run.").as_dict())
        if await self.pool.fetch(CANCEL, run_id, organization_id, problem):
            live = self.live.get(run_id)
            if live is not None:
                live.leave()
            self.pokes.poke(run_id)
            return
        run = await self.run(organization_id, run_id)
        if run.status != "cancelled":
            raise RunEnded(f"The run is {run.status} already.")

    async def decide(self, organization_id: UUID, run_id: UUID, path: str, decision: Decision) -> None:
        """Answer an approval of a run, which goes on by itself; who may do that is for the caller to know.

        Raises `RunNotWaiting` where nobody asks, or somebody has answered already.
        """
        row = await self.pool.fetchrow(
            DECIDE,
            run_id,
            organization_id,
            path,
            to_json(decided(decision)),
            "approved" if decision.approved else "denied",
            decision.user_id,
            decision.comment or None,
        )
        if row is None or not row["decided"]:
            raise RunNotWaiting("Nobody waits for this decision any more; it was made, or its run has ended.")
        self.nudge()
        self.pokes.poke(run_id)

    async def tell(
        self,
        organization_id: UUID,
        event_type: str,
        data: Any,  # noqa: ANN401 - any JSON value
        *,
        key: str | None = None,
        source_run: UUID | None = None,
    ) -> UUID:
        """Commit an event, once for each key of an organisation, and return its id."""
        return await events.tell(self.pool, organization_id, event_type, data, key=key, source_run=source_run)

    async def _asks(self, run_id: UUID) -> bool:
        rows = await self.pool.fetch(OPEN_WAITS, run_id, again=True)
        return any(row["kind"] == "approval" for row in rows)


def spender_of(start: StartRun) -> Spender:
    """Give who uses what a run uses."""
    return Spender(organization_id=start.organization_id, key_id=start.key_id)


class Events:
    """The door of one run; see `runtime.flow.context.EventDoor`."""

    def __init__(self, queue: Queue, organization_id: UUID, run_id: UUID) -> None:
        """Remember whose it is."""
        self._queue = queue
        self._organization_id = organization_id
        self._run_id = run_id

    async def emit(self, event_type: str, data: Any, key: str) -> str:  # noqa: ANN401 - any JSON value
        """Publish an event once for each key, and return its id."""
        told = await self._queue.tell(self._organization_id, event_type, data, key=key, source_run=self._run_id)
        return encode("evt", told)
