"""Starts, keeps, cancels, resumes and recovers runs (S59, S61, S71)."""

import asyncio
import os
import socket
from collections.abc import Coroutine, Generator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import structlog

from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.known import CHANNEL as LIMITS_CHANGED
from agent_factory.enterprise.multitenancy.ledger import Ledger
from agent_factory.enterprise.multitenancy.settings import QuotaSettings
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Unavailable
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.activations import Activations
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.definitions import Definitions, Ready
from agent_factory.runtime.errors import RunEnded, RunNotWaiting, SessionBusy
from agent_factory.runtime.heartbeat import Heartbeat
from agent_factory.runtime.history import Conversation, Conversations
from agent_factory.runtime.journal import SessionMoved, Writer, to_json
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.rows import RunState, read_run, run_state
from agent_factory.runtime.settings import EngineSettings
from agent_factory.runtime.start import Start, spender
from agent_factory.runtime.statements import DECIDE, FORGET_PROCESSES, OWNED, REAP, RELEASE, SEIZE
from agent_factory.runtime.turn import RunCancelled

log = structlog.stdlib.get_logger(__name__)

_CHANNEL = "af_runs"
"""Where a process says that it has taken a run over; the payload is the run's id."""

_AT_ONCE = 20
"""Abandoned runs that one process takes over at a time."""

_TRIES = 3
"""How often a turn looks at its session again before it calls it busy."""


class Engine:
    """The runs of one process.

    Nothing is connected before the first run. `reap_forever` has to run beside
    it, so that others see that this process lives and that the runs of dead
    ones are finished here.
    """

    def __init__(
        self,
        database: Database,
        resources: Resources,
        settings: EngineSettings | None = None,
        quotas: QuotaSettings | None = None,
    ) -> None:
        """Choose a name for this process that no other ever had."""
        self._settings = settings or EngineSettings()
        self._database = database
        self._pool = database.pool
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid7().hex[-12:]}"
        self._writer = writer = Writer(self._pool, self.owner, self._settings.patience)
        self.ledger = Ledger(
            self._pool, self.owner, quotas, lease=self._settings.lease, patience=self._settings.patience
        )
        """What the runs of this process may use, and use."""
        self._definitions = Definitions(self._pool, resources)
        self._conversations = Conversations(self._pool, self._settings.history_bytes)
        self._activations = Activations(
            self._pool, writer, self.ledger, self._definitions, self._conversations, attempts=self._settings.attempts
        )
        self._heart = Heartbeat(self._pool, self.owner, self._settings.lease)
        self._live: dict[UUID, LiveRun] = {}
        self._held: set[UUID] = set()
        """Runs that are being decided or cancelled: ours in the database, and not live yet."""
        self._closing = False

    async def conversation(self, organization_id: UUID, session_id: UUID) -> Conversation:
        """Give a session as last known to this process, perhaps a turn behind; see `Conversations.read`."""
        return await self._conversations.read(organization_id, session_id)

    def live(self, run_id: UUID) -> LiveRun | None:
        """Give a run that this process works on."""
        return self._live.get(run_id)

    async def start(self, start: Start) -> LiveRun:
        """Begin a turn; when this returns, the run and the user's message are committed.

        Raises `SessionBusy`, `SessionNotFound`, `VersionMoved`, `Unavailable`, and whatever
        keeps the definition from being made ready (`Invalid`, `UnknownModel`); `BudgetExceeded`
        and `QuotaExceeded` where nothing is left for it.
        """
        if self._closing:
            raise Unavailable("This server is stopping; send the request again.", retry_after=1)
        await self._heart.keep()
        ready = await self._definitions.of(start.organization_id, start.agent, start.agents)
        async with self.ledger.one_run(spender(start)):
            return await self._begin(start, ready)

    async def _begin(self, start: Start, ready: Ready) -> LiveRun:
        for attempt in range(_TRIES):
            conversation = None
            if start.session_id is not None:
                conversation = await self._conversations.read(
                    start.organization_id, start.session_id, fresh=attempt > 0
                )
                if conversation.revision % 2:
                    break
            with suppress(SessionMoved):
                return await self._launch(start, ready, conversation)
        raise SessionBusy("Wait for the end of its turn, or cancel it. A turn that waits for a decision counts, too.")

    async def cancel(self, organization_id: UUID, run_id: UUID) -> None:
        """End a run as cancelled, wherever it is; returns when that is committed.

        Raises `RunNotFound`, or `RunEnded` for one that ended otherwise.
        """
        live = self._live.get(run_id)
        if live is not None and live.organization_id == organization_id:
            await asyncio.wait([live.begun])
            live.cancel()
            await live.wait()
        else:
            with self._holding(run_id):
                rows = await self._pool.fetch(SEIZE, run_id, organization_id, self.owner)
                if rows:
                    await self._activations.end(run_state(rows[0]), RunCancelled("Somebody cancelled the run."))
                    await self._pool.execute("select pg_notify($1, $2)", _CHANNEL, str(run_id))
        run = await read_run(self._pool, organization_id, run_id)
        if run.status != "cancelled":
            raise RunEnded(f"The run is {run.status} already.")

    async def decide(self, organization_id: UUID, run_id: UUID, *, approve: bool) -> LiveRun:
        """Answer a waiting run's question and let it go on, here.

        Raises `RunNotFound`, or `RunNotWaiting`.
        """
        run = await read_run(self._pool, organization_id, run_id)
        question = run.question()
        if question is None:
            raise RunNotWaiting(f"The run is {run.status}.")
        with self._holding(run_id):
            rows = await self._pool.fetch(
                DECIDE,
                run_id,
                organization_id,
                self.owner,
                run.epoch,
                question.path,
                question.name,
                to_json(question),
                to_json({"approved": approve}),
            )
            if not rows:
                raise RunNotWaiting("Somebody else has decided already.")
            return self._take_over(run_state(rows[0]))

    async def reap_forever(self) -> None:
        """Beat, and finish the runs of processes that no longer do; ends when cancelled."""
        await self._database.listen(_CHANNEL, self._heard)
        await self._database.listen(LIMITS_CHANGED, self.ledger.heard)
        try:
            while True:
                try:
                    await self._heart.beat()
                    if not self._closing:
                        await self._reap()
                except Unavailable:
                    pass  # whoever needs the database says so; this goes on when it is back
                except Exception:
                    log.exception("the reaper stumbled; it tries again")
                await asyncio.sleep(self._settings.beat)
        finally:
            await self._database.unlisten(_CHANNEL, self._heard)
            await self._database.unlisten(LIMITS_CHANGED, self.ledger.heard)

    async def close(self, grace: float = 30.0) -> None:
        """Let the turns end for `grace` seconds, then hand what is left over to other processes at once."""
        self._closing = True
        beating = asyncio.create_task(self._beat_on())
        try:
            tasks = [live.task for live in self._live.values() if live.task is not None]
            if tasks:
                await asyncio.wait(tasks, timeout=grace)
            left = list(self._live.values())
            for live in left:
                live.leave()
            await asyncio.gather(*(live.task for live in left if live.task is not None), return_exceptions=True)
            await self._writer.idle()
            await self.ledger.idle()
        finally:
            beating.cancel()
        with suppress(Unavailable):
            await self._pool.execute(RELEASE, self.owner)
            await self._heart.stop()

    async def _launch(self, start: Start, ready: Ready, conversation: Conversation | None) -> LiveRun:
        live = LiveRun(self._pool, uuid7(), start.organization_id, start.session_id, now())
        self._adopt(live, self._activations.first(live, start, ready, conversation))
        await asyncio.shield(live.begun)
        return live

    def _adopt(self, live: LiveRun, work: Coroutine[Any, Any, None]) -> None:
        self._live[live.id] = live
        live.task = asyncio.create_task(work)
        live.task.add_done_callback(lambda _: self._drop(live))

    @contextmanager
    def _holding(self, run_id: UUID) -> Generator[None, None, None]:
        self._held.add(run_id)
        try:
            yield
        finally:
            self._held.discard(run_id)

    def _drop(self, live: LiveRun) -> None:
        if self._live.get(live.id) is live:
            del self._live[live.id]

    def _take_over(self, run: RunState) -> LiveRun:
        """Go on with a run that this process has just become the owner of."""
        live = LiveRun(self._pool, run.id, run.organization_id, run.session_id, run.started_at)
        live.begun.set_result(None)
        self._adopt(live, self._activations.again(live, run))
        return live

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(self._settings.beat)
            with suppress(Unavailable):
                await self._heart.beat()

    async def _reap(self) -> None:
        """Take over runs without a living process, and those of this one that nothing here works on any more."""
        owned = await self._pool.fetch(OWNED, self.owner, again=True)
        # A run is live before it is committed, so one that is committed and not live has been lost, or has just ended.
        lost = [row["id"] for row in owned if row["id"] not in self._live and row["id"] not in self._held]
        sure = self._heart.sure
        rows = await self._pool.fetch(REAP, self.owner, lost, sure, self._settings.lease, _AT_ONCE)
        for row in rows:
            log.info("taking a run over", run_id=str(row["id"]), epoch=row["epoch"])
            self._take_over(run_state(row))
        if sure and not rows:
            await self._pool.execute(FORGET_PROCESSES)

    def _heard(self, payload: str) -> None:
        """Give up a run that another process says it has taken."""
        with suppress(ValueError):
            live = self._live.get(UUID(payload))
            if live is not None:
                live.leave()
