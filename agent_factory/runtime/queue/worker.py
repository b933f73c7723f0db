"""Works on workflow runs: claims them, interprets them, and takes over from workers that died (S83, S86)."""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from agent_factory.database.driver import Row
from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.limits import Spender
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem, Unavailable
from agent_factory.kit.ids import uuid7
from agent_factory.monitoring.metrics import Metrics
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.errors import InternalFailure, RunInterrupted
from agent_factory.runtime.flow.context import FlowContext, FlowLimits, Leaf
from agent_factory.runtime.flow.counted import counted
from agent_factory.runtime.flow.interpreter import interpret
from agent_factory.runtime.flow.outcome import Completed, Failed, FlowEnd, Waiting, failure
from agent_factory.runtime.heartbeat import Heartbeat
from agent_factory.runtime.journal import Fenced, Writer
from agent_factory.runtime.queue.activation import Claimed, open_journal, settlement, teller, told
from agent_factory.runtime.queue.events import bring
from agent_factory.runtime.queue.fires import Fires
from agent_factory.runtime.queue.gate import Gate
from agent_factory.runtime.queue.journal import FlowJournal
from agent_factory.runtime.queue.live import LiveFlow
from agent_factory.runtime.queue.queue import Events, Queue
from agent_factory.runtime.queue.retention import Retention, Values
from agent_factory.runtime.queue.rows import read_input
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.runtime.queue.statements import CLAIM, COME, DUE, GIVE_BACK, NEXT_DUE, OWNED, TAKE_BACK
from agent_factory.runtime.queue.turn import Turn
from agent_factory.runtime.queue.waits import Waits
from agent_factory.runtime.queue.writing import FlowWriter
from agent_factory.runtime.spending import Spending

log = structlog.stdlib.get_logger(__name__)

_TIMERS_AT_ONCE = 500
"""Timers that one statement fires."""

_NOBODY = UUID(int=0)


class Worker:
    """The workflow runs of one process; `run_forever` has to run.

    `leaves` do the tasks with effects, `resources` are what these may reach,
    and `sandbox` runs code. `store` loses the large values of runs that are
    dropped; `metrics` count what ends here.
    """

    def __init__(
        self,
        queue: Queue,
        database: Database,
        resources: Resources,
        settings: QueueSettings | None = None,
        *,
        leaves: Mapping[str, Leaf] | None = None,
        sandbox: Any = None,  # noqa: ANN401 - as FlowContext has it
        store: Values | None = None,
        limits: FlowLimits | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Choose a name that no other worker ever had; nothing is connected yet."""
        self._queue = queue
        self._database = database
        self._pool = database.pool
        self._resources = resources
        self._settings = settings or QueueSettings()
        self._leaves = leaves or {}
        self._sandbox = sandbox
        self._limits = limits or FlowLimits()
        self._metrics = metrics or Metrics()
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid7().hex[-12:]}-w"
        self._heart = Heartbeat(self._pool, self.owner, self._settings.lease)
        self._journals = Writer(self._pool, self.owner, self._settings.patience)
        self._writer = FlowWriter(self._pool, self.owner, self._settings.patience)
        self._gate = Gate(self._settings.tasks)
        self._retention = Retention(self._database, self._settings.retention_days, store)
        self._live: dict[UUID, LiveFlow] = queue.live
        self._work = asyncio.Event()
        self._timer = asyncio.Event()
        self._events = asyncio.Event()
        self._fires = asyncio.Event()
        self._fired: set[UUID] = set()
        """Runs for which something came."""
        self._claiming = asyncio.Lock()
        self._last = _NOBODY
        """The organisation that was served last."""
        self._more = False
        """Whether runs were left in the queue when this worker looked last."""
        self._closing = False
        queue.on_work(self._work.set)

    @property
    def busy(self) -> int:
        """How many runs this process works on."""
        return len(self._live)

    async def run_forever(self) -> None:
        """Work until cancelled; call `close` after it, so that others get what is left at once."""
        await self._database.listen("af_queue", self._poked)
        await self._database.listen("af_runs", self._heard)
        await self._database.listen("af_events", self._told)
        await self._database.listen("af_fires", self._came)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._again(self._beat, "beating"), name="heartbeat of the worker")
                group.create_task(self._again(self._claim, "claiming"), name="claims of the worker")
                group.create_task(self._again(self._wake, "waking"), name="timers of the worker")
                group.create_task(self._again(self._bring, "bringing events round"), name="events of the worker")
                group.create_task(self._again(self._look, "looking what came"), name="fires of the worker")
                group.create_task(self._retention.keep_forever(), name="retention")
        finally:
            await self._database.unlisten("af_queue", self._poked)
            await self._database.unlisten("af_runs", self._heard)
            await self._database.unlisten("af_events", self._told)
            await self._database.unlisten("af_fires", self._came)

    async def close(self, grace: float = 0.0) -> None:
        """Let runs end for `grace` seconds, then hand over what is left: others go on with it at once."""
        self._closing = True
        tasks = [live.task for live in self._live.values() if live.task is not None]
        if tasks and grace:
            beating = asyncio.create_task(self._again(self._beat, "beating"))
            await asyncio.wait(tasks, timeout=grace)
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        for live in list(self._live.values()):
            live.leave()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(Unavailable):
            await self._journals.idle()
            await self._writer.idle()
            await self._pool.fetch(GIVE_BACK, self.owner)
            await self._heart.stop()

    async def _again(self, step: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
        while True:
            try:
                await step()
            except Unavailable:
                await asyncio.sleep(min(1.0, self._settings.poll))
            except Exception:
                log.exception("a worker stumbled; it tries again", at=what)
                await asyncio.sleep(self._settings.poll)

    # What this process has, and what others have left.

    async def _beat(self) -> None:
        if self._heart.lapsed:
            # Others have taken these runs, or will: nothing may be begun for them here any more.
            for live in list(self._live.values()):
                live.leave()
        await self._heart.beat()
        async with self._claiming:
            owned = await self._pool.fetch(OWNED, self.owner, again=True)
            lost = [row["id"] for row in owned if row["id"] not in self._live]
            rows = await self._pool.fetch(TAKE_BACK, self.owner, lost, self._heart.sure, self._settings.lease)
        if rows:
            log.info("runs are queued again whose worker is gone", runs=len(rows))
            self._work.set()
        await asyncio.sleep(self._settings.beat)

    async def _claim(self) -> None:
        self._work.clear()
        settings = self._settings
        room = settings.runs - len(self._live)
        guests = settings.guests + min(room, 0)
        if guests <= 0 or self._closing:
            await self._until(self._work, settings.poll)
            return
        async with self._claiming:
            here = list({live.organization_id for live in self._live.values()})
            limit = settings.organization_runs
            *rows, rest = await self._pool.fetch(CLAIM, self.owner, max(0, room), guests, limit, here, self._last)
            runs = [_claimed(row) for row in rows]
            for run in runs:
                self._adopt(run)
        self._last, self._more = rest["turn"], rest["more"]
        if not (runs and self._more):
            await self._until(self._work, settings.poll)

    async def _wake(self) -> None:
        """Fire what is due, then sleep until the next timer, at most for a second."""
        self._timer.clear()
        fired = await self._pool.fetchrow(DUE, _TIMERS_AT_ONCE)
        assert fired is not None
        if fired["woken"]:
            self._work.set()
        if fired["fired"] == _TIMERS_AT_ONCE:
            return
        seconds = await self._pool.fetchval(NEXT_DUE, again=True)
        pause = self._settings.poll if seconds is None else min(self._settings.poll, max(0.005, seconds))
        await self._until(self._timer, pause)

    async def _bring(self) -> None:
        self._events.clear()
        if not await bring(self._pool, self._queue.subscribers):
            await self._until(self._events, self._settings.poll)

    async def _look(self) -> None:
        """Let runs at work take note of what came for them; what nobody told of is found by looking."""
        self._fires.clear()
        await self._until(self._fires, self._settings.poll)
        fired, self._fired = self._fired, set()
        if not fired and self._live:
            rows = await self._pool.fetch(COME, list(self._live), again=True)
            fired = {row["run_id"] for row in rows}
        found = [live.fires for each in fired if (live := self._live.get(each)) is not None and live.fires is not None]
        for outcome in await asyncio.gather(*(fires.look() for fires in found), return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, Fenced | Unavailable):
                raise outcome

    @staticmethod
    async def _until(event: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    def _poked(self, _payload: str) -> None:
        self._work.set()

    def _told(self, _payload: str) -> None:
        self._events.set()

    def _came(self, payload: str) -> None:
        if payload:
            self._fired.add(UUID(payload))
        self._fires.set()

    def _heard(self, payload: str) -> None:
        """Give up a run that ended elsewhere."""
        with suppress(ValueError):
            live = self._live.get(UUID(payload))
            if live is not None:
                live.leave()

    # One run.

    def _adopt(self, run: Claimed) -> None:
        live = LiveFlow(run.id, run.organization_id)
        self._live[run.id] = live
        live.task = asyncio.create_task(self._work_on(live, run))
        live.task.add_done_callback(lambda _: self._drop(live))

    def _drop(self, live: LiveFlow) -> None:
        if self._live.get(live.id) is live:
            del self._live[live.id]
        live.close()
        self._queue.pokes.poke(live.id)
        if self._more:
            self._work.set()

    async def _work_on(self, live: LiveFlow, run: Claimed) -> None:
        """Interpret a run and commit its end; nothing is raised."""
        journal = FlowJournal(self._journals, run.id, run.organization_id, run.epoch)
        signals = run.signals
        try:
            try:
                self._check(run)
                pinned = await self._queue.snapshots.read(run.organization_id, run.snapshot)
                journal = await open_journal(self._pool, self._journals, run, pinned)
                feed = live.opened(journal.last)
                self._queue.pokes.poke(run.id)
                waits = Waits(self._pool, run.id, run.epoch, self.owner, self._timer.set)
                fires = live.fires = Fires(self._pool, run, journal, pinned)
                context = FlowContext(
                    journal=journal,
                    run_id=str(run.id),
                    organization_id=str(run.organization_id),
                    emit=counted(teller(feed, journal), self._metrics),
                    resources=self._resources,
                    agents=pinned.agents,
                    flows=pinned.flows,
                    spending=self._spending(run),
                    waits=waits,
                    fires=fires,
                    events=Events(self._queue, run.organization_id, run.id),
                    sandbox=self._sandbox,
                    limits=self._limits,
                    leaves=self._leaves,
                    slots=lambda _: Turn(self._gate.place(run.organization_id, run.priority), live, self._heart),
                    payloads=self._queue.payloads(run.organization_id),
                )
                end = await interpret(pinned.flow, read_input(run.input), context)
                if isinstance(end, Waiting):
                    await waits.settle(end.waits)
                    signals = await fires.close(end.waits)
            except (Fenced, Unavailable):
                raise
            except Problem as problem:
                if problem.retryable:  # the store is away, say: the run goes on when it is back
                    raise Unavailable(problem.detail) from problem
                end = Failed(failure(problem, ""), "")
            except Exception:
                log.exception("a workflow run broke", run_id=str(run.id))
                end = Failed(failure(InternalFailure("The run broke; the server's log says how."), ""), "")
            await self._settle(live, run, journal, end, signals)
        except asyncio.CancelledError:
            with suppress(Problem):
                await journal.flush()
        except Fenced:
            log.info("a run was taken over", run_id=str(run.id))
        except Unavailable:
            log.warning("a run cannot be written to; it goes on once that is possible", run_id=str(run.id))
        except Exception:
            log.exception("a run could not be ended; it is tried again", run_id=str(run.id))

    def _spending(self, run: Claimed) -> Spending:
        spender = Spender(organization_id=run.organization_id, run_id=run.id, key_id=run.key_id)
        return Spending(self._queue.ledger, spender)

    def _check(self, run: Claimed) -> None:
        if run.attempts >= self._settings.attempts:
            raise RunInterrupted(f"Its workers died {run.attempts} times without getting further.")

    async def _settle(self, live: LiveFlow, run: Claimed, journal: FlowJournal, end: FlowEnd, signals: int) -> None:
        settled = settlement(run, end, journal, now(), signals)
        try:
            status = await self._writer.settle(settled)
        except (Fenced, Unavailable):
            raise
        except Exception:
            log.exception("a run's end could not be kept", run_id=str(run.id))
            end = Failed(failure(InternalFailure("The run's end could not be kept."), ""), "")
            status = await self._writer.settle(settlement(run, end, journal, now(), signals))
        if isinstance(end, Completed | Failed):
            self._metrics.workflow(success=isinstance(end, Completed))
        if live.feed is None:
            return
        if isinstance(end, Completed | Failed):
            live.feed.fact(journal.last + 2, told(end, journal.spent))
        elif status == "waiting":
            live.feed.delta(told(end, journal.spent))
        if status == "pending":
            self._work.set()


def _claimed(row: Row) -> Claimed:
    return Claimed(**{name: row[name] for name in Claimed.__struct_fields__})
