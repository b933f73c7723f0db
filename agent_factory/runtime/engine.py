"""Starts, keeps, cancels, resumes and recovers runs (S59, S61, S71)."""

import asyncio
import os
import socket
import time
from collections.abc import Coroutine, Generator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import msgspec
import structlog

from agent_factory.core.agent import Agent
from agent_factory.core.event import ApprovalNeeded, ModelFinished, ToolFinished, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.core.message import Message
from agent_factory.core.model import ModelSettings, ToolSpec
from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.known import CHANNEL as LIMITS_CHANGED
from agent_factory.enterprise.multitenancy.ledger import Ledger
from agent_factory.enterprise.multitenancy.limits import Spender
from agent_factory.enterprise.multitenancy.settings import QuotaSettings
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Conflict, Problem, Unavailable
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.compile import Compiled, Resources
from agent_factory.runtime.definitions import Definitions, Ready
from agent_factory.runtime.history import Conversation, Conversations, SessionNotFound, read_conversation
from agent_factory.runtime.journal import Begin, Fenced, RunJournal, SessionMoved, Settle, Writer, to_json
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.rows import (
    Input,
    RunState,
    read_run,
    read_steps,
    run_state,
    spent,
    step_events,
    whole_messages,
)
from agent_factory.runtime.scope import TurnContext, TurnEnd
from agent_factory.runtime.settings import EngineSettings
from agent_factory.runtime.settling import Activation, admitted, settlement
from agent_factory.runtime.spending import Spending
from agent_factory.runtime.statements import BEAT, DECIDE, FIRST, FORGET_PROCESSES, LEAVE, OWNED, REAP, RELEASE, SEIZE
from agent_factory.runtime.turn import RunCancelled, conduct

log = structlog.stdlib.get_logger(__name__)

_CHANNEL = "af_runs"
"""Where a process says that it has taken a run over; the payload is the run's id."""

_AT_ONCE = 20
"""Abandoned runs that one process takes over at a time."""

_TRIES = 3
"""How often a turn looks at its session again before it calls it busy."""


class SessionBusy(Conflict):
    """A session holds one turn at a time."""

    code = "session_busy"
    title = "A turn of this session is under way"


class RunEnded(Conflict):
    """There is nothing left to cancel."""

    code = "run_ended"
    title = "The run has ended"


class RunNotWaiting(Conflict):
    """Nobody asked for a decision, or it is made already."""

    code = "run_not_waiting"
    title = "The run does not wait for a decision"


class RunInterrupted(Problem):
    """The processes that worked on the run died, more often than is allowed."""

    code = "run_interrupted"
    title = "The run was interrupted"


class InternalFailure(Problem):
    """A fault of ours; the log has the particulars."""

    code = "internal_error"
    title = "Internal error"


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A turn to be made: of a session, or by itself with the `history` that the caller brings.

    `settings`, `output` and `client_tools` are the caller's own for this turn;
    see `TurnContext`. `agents` are the pinned agents that `agent` may call.
    With `deployed`, the version has to be the agent's deployed one when the
    turn begins.
    """

    organization_id: UUID
    agent: Agent
    message: Message
    user_id: UUID | None = None
    key_id: UUID | None = None
    agents: dict[str, Agent] = {}
    agent_id: UUID | None = None
    agent_version: int | None = None
    deployed: bool = False
    session_id: UUID | None = None
    history: tuple[Message, ...] = ()
    stream: bool = True
    source: str = "api"
    settings: ModelSettings | None = None
    output: dict[str, Any] | None = None
    client_tools: tuple[ToolSpec, ...] = ()


class _Work(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one activation of a run needs."""

    run: Activation
    live: LiveRun
    journal: RunJournal
    compiled: Compiled
    history: tuple[Message, ...]
    message: Message
    context: TurnContext
    conversation: Conversation | None = None


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
        self._writer = Writer(self._pool, self.owner, self._settings.patience)
        self.ledger = Ledger(
            self._pool, self.owner, quotas, lease=self._settings.lease, patience=self._settings.patience
        )
        """What the runs of this process may use, and use."""
        self._definitions = Definitions(self._pool, resources)
        self._conversations = Conversations(self._pool, self._settings.history_bytes)
        self._live: dict[UUID, LiveRun] = {}
        self._held: set[UUID] = set()
        """Runs that are being decided or cancelled: ours in the database, and not live yet."""
        self._closing = False
        self._beaten: float | None = None
        self._steady: float = 0.0

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
        if self._beaten is None or time.monotonic() - self._beaten > self._settings.lease / 2:
            await self._beat()
        ready = await self._definitions.of(start.organization_id, start.agent, start.agents)
        async with self.ledger.one_run(_spender(start)):
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
                    await self._settle_from_rows(run_state(rows[0]), RunCancelled("Somebody cancelled the run."))
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
                    await self._beat()
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
            await self._pool.execute(LEAVE, self.owner)

    async def _launch(self, start: Start, ready: Ready, conversation: Conversation | None) -> LiveRun:
        live = LiveRun(self._pool, uuid7(), start.organization_id, start.session_id, now())
        self._adopt(live, self._first(live, start, ready, conversation))
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

    async def _first(self, live: LiveRun, start: Start, ready: Ready, conversation: Conversation | None) -> None:
        """Commit the begin of a new run, then work on it; what keeps it from beginning is told to `begun`."""
        begin = Begin(
            id=live.id,
            organization_id=start.organization_id,
            source=start.source,
            agent_id=start.agent_id,
            agent_version=start.agent_version,
            session_id=start.session_id,
            revision=None if conversation is None else conversation.revision,
            snapshot=ready.digest,
            input=to_json(_asked(start)),
            created_by=start.user_id,
            created_at=live.started_at,
            message=start.message,
            definition=self._definitions.to_store(start.organization_id, ready),
            deployed=start.deployed,
            key_id=start.key_id,
        )
        try:
            seq = await self._writer.begin(begin)
        except asyncio.CancelledError:
            live.refuse(Unavailable("This server is stopping; send the request again.", retry_after=1))
            return
        except Exception as error:  # noqa: BLE001 - it is raised to the one who waits for the begin
            live.refuse(error)
            return
        self._definitions.stored(start.organization_id, ready)
        live.begun.set_result(None)
        run = Activation(
            id=live.id,
            organization_id=start.organization_id,
            session_id=start.session_id,
            epoch=1,
            seq=seq,
            started_at=live.started_at,
        )
        context = TurnContext(
            run_id=str(live.id),
            organization_id=str(start.organization_id),
            stream=start.stream,
            summary=None if conversation is None else conversation.summary,
            settings=start.settings,
            output=start.output,
            client_tools=start.client_tools,
            spending=Spending(self.ledger, _spender(start, live.id)),
        )
        await self._work(
            _Work(
                run=run,
                live=live,
                journal=RunJournal(self._writer, live.id, start.organization_id, run.epoch),
                compiled=ready.compiled,
                history=start.history if conversation is None else conversation.messages,
                message=start.message,
                context=context,
                conversation=conversation,
            )
        )

    async def _work(self, work: _Work) -> None:
        """Conduct the turn and commit its end; nothing is raised."""
        live, journal = work.live, work.journal
        said: list[TurnEnd] = []

        def emit(event: TurnEvent) -> None:
            match event:
                case TurnCompleted() | TurnFailed() | ApprovalNeeded():
                    said.append(event)  # told once it is committed
                case ModelFinished() | ToolFinished():
                    live.hub.fact(journal.ordinal(event.path) + 1, event)
                case _:
                    live.hub.delta(event)

        try:
            end = await conduct(
                work.compiled, work.history, work.message, journal=journal, context=work.context, emit=emit
            )
        except asyncio.CancelledError:
            if live.leaving:
                with suppress(Problem):
                    await journal.flush()
                live.move()
                return
            end = said[-1] if said else TurnFailed(RunCancelled("Somebody cancelled the run.").as_dict())
        except Exception:
            log.exception("a turn broke", run_id=str(live.id))
            end = TurnFailed(InternalFailure("The turn broke; the server's log says how.").as_dict())
        if isinstance(journal.broken, Fenced):
            live.move()
        elif journal.broken is not None:
            live.lose(journal.broken)
        else:
            live.settling()
            await self._settle(work, end)

    async def _settle(self, work: _Work, end: TurnEnd) -> None:
        live, journal = work.live, work.journal
        entries = journal.entries
        at = now()
        rest = journal.take()
        settled = settlement(work.run, end, at, entries, rest)
        try:
            try:
                await self._writer.settle(settled)
            except (Fenced, Unavailable):
                raise
            except Exception:
                log.exception("a turn's end could not be kept", run_id=str(live.id))
                end = TurnFailed(InternalFailure("The turn's end could not be kept.").as_dict())
                settled = settlement(work.run, end, at, entries, ())
                await self._writer.settle(settled)
        except Unavailable as problem:
            live.lose(problem)
        except (Fenced, asyncio.CancelledError):
            live.move()
        except Exception:
            log.exception("a run could not be ended", run_id=str(live.id))
            live.lose(InternalFailure("The run could not be ended; it is tried again."))
        else:
            self._remember(work, end)
            live.finish(len(entries) + 2, end, settled)

    def _remember(self, work: _Work, end: TurnEnd) -> None:
        """Bring the conversation in memory to where the database has it now."""
        before = work.conversation
        if before is not None and not isinstance(end, ApprovalNeeded):
            message = admitted(end, work.journal.entries) or work.message
            self._conversations.keep(before.then((message, *end.messages), end.summary))
        elif work.run.session_id is not None:
            self._conversations.drop(work.run.session_id)

    def _take_over(self, run: RunState) -> LiveRun:
        """Go on with a run that this process has just become the owner of."""
        live = LiveRun(self._pool, run.id, run.organization_id, run.session_id, run.started_at)
        live.begun.set_result(None)
        self._adopt(live, self._again(live, run))
        return live

    async def _again(self, live: LiveRun, run: RunState) -> None:
        """Work on a run from what is recorded of it; nothing is raised."""
        try:
            if run.epoch > self._settings.attempts:
                told = f"Its process died {self._settings.attempts} times while it was at work."
                live.finish(*await self._settle_from_rows(run, RunInterrupted(told)))
                return
            try:
                work = await self._reread(live, run)
            except (Unavailable, Fenced):
                raise
            except Problem as problem:
                live.finish(*await self._settle_from_rows(run, problem))
                return
            await self._work(work)
        except Unavailable as problem:
            live.lose(problem)
        except (Fenced, asyncio.CancelledError):
            live.move()
        except Exception:
            log.exception("a run could not be taken over", run_id=str(run.id))
            live.lose(InternalFailure("The run could not be taken over; it is tried again."))

    async def _reread(self, live: LiveRun, run: RunState) -> _Work:
        steps = await read_steps(self._pool, run.organization_id, run.id)
        for at, event in step_events(steps):
            live.hub.fact(at.major, event)
        compiled = await self._definitions.read(run.organization_id, run.snapshot)
        asked = run.asked()
        seq, conversation = await self._place(run)
        entries = [entry for _, entry in steps]
        return _Work(
            run=_activation(run, seq),
            live=live,
            journal=RunJournal(self._writer, run.id, run.organization_id, run.epoch, entries),
            compiled=compiled,
            history=asked.history if conversation is None else conversation.messages,
            message=asked.message,
            context=TurnContext(
                run_id=str(run.id),
                organization_id=str(run.organization_id),
                summary=None if conversation is None else conversation.summary,
                settings=asked.model_settings(),
                output=asked.output,
                client_tools=asked.client_tools,
                spending=self._spending_again(run, compiled.agent.name),
            ),
        )

    def _spending_again(self, run: RunState, agent: str) -> Spending:
        spender = Spender(
            organization_id=run.organization_id,
            run_id=run.id,
            agents=(agent,),
            agent_id=run.agent_id,
            key_id=run.key_id,
        )
        return Spending(self.ledger, spender)

    async def _place(self, run: RunState) -> tuple[int, Conversation | None]:
        """Find a run's place in its session: the number of its first message, and what was said before."""
        if run.session_id is None:
            return 0, None
        rows = await self._pool.fetch(FIRST, run.session_id, run.organization_id, run.id, again=True)
        seq = rows[0]["seq"]
        if seq is None:
            raise SessionNotFound("The run's session was deleted.")
        return seq, await read_conversation(self._pool, run.organization_id, run.session_id, seq)

    async def _settle_from_rows(self, run: RunState, problem: Problem) -> tuple[int, TurnFailed, Settle]:
        """End a run without working on it; what its steps have recorded stays in the history."""
        steps = await read_steps(self._pool, run.organization_id, run.id)
        entries = [entry for _, entry in steps]
        seq = 0
        if run.session_id is not None:
            self._conversations.drop(run.session_id)
            rows = await self._pool.fetch(FIRST, run.session_id, run.organization_id, run.id, again=True)
            seq = rows[0]["seq"] or 0
        usage, cost = spent(entries)
        end = TurnFailed(problem.as_dict(), whole_messages(entries), usage, None if cost is None else f"{cost:f}")
        settled = settlement(_activation(run, seq), end, now(), entries, ())
        await self._writer.settle(settled)
        return len(entries) + 2, end, settled

    async def _beat(self) -> None:
        await self._pool.execute(BEAT, self.owner, again=True)
        moment = time.monotonic()
        if self._beaten is None or moment - self._beaten > self._settings.lease / 2:
            self._steady = moment
        self._beaten = moment

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(self._settings.beat)
            with suppress(Unavailable):
                await self._beat()

    async def _reap(self) -> None:
        """Take over runs without a living process, and those of this one that nothing here works on any more.

        Only who has been beating for a whole lease himself believes that others
        are dead: after an outage of the database nobody has beaten for a while.
        """
        owned = await self._pool.fetch(OWNED, self.owner, again=True)
        # A run is live before it is committed, so one that is committed and not live has been lost, or has just ended.
        lost = [row["id"] for row in owned if row["id"] not in self._live and row["id"] not in self._held]
        lease = self._settings.lease
        sure = time.monotonic() - self._steady >= lease
        rows = await self._pool.fetch(REAP, self.owner, lost, sure, lease, _AT_ONCE)
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


def _activation(run: RunState, seq: int) -> Activation:
    return Activation(
        id=run.id,
        organization_id=run.organization_id,
        session_id=run.session_id,
        epoch=run.epoch,
        seq=seq,
        started_at=run.started_at,
    )


def _spender(start: Start, run_id: UUID | None = None) -> Spender:
    return Spender(
        organization_id=start.organization_id,
        run_id=run_id,
        agents=(start.agent.name,),
        agent_id=start.agent_id,
        key_id=start.key_id,
    )


def _asked(start: Start) -> Input:
    return Input(
        message=start.message,
        history=start.history,
        settings=None if start.settings is None else start.settings.model_dump(mode="json", exclude_unset=True),
        output=start.output,
        client_tools=start.client_tools,
    )
