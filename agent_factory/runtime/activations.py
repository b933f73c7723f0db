"""Works on runs: from their begin, or from what is recorded of them, to the commit of their end."""

import asyncio
from contextlib import suppress

import msgspec
import structlog

from agent_factory.core.event import ApprovalNeeded, ModelFinished, ToolFinished, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.core.message import Message
from agent_factory.database.pool import Pool
from agent_factory.enterprise.multitenancy.ledger import Ledger
from agent_factory.enterprise.multitenancy.limits import Spender
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem, Unavailable
from agent_factory.runtime.compile import Compiled
from agent_factory.runtime.definitions import Definitions, Ready
from agent_factory.runtime.errors import InternalFailure, RunInterrupted
from agent_factory.runtime.history import Conversation, Conversations, SessionNotFound, read_conversation
from agent_factory.runtime.journal import Begin, Fenced, RunJournal, Settle, Writer, to_json
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.rows import RunState, read_steps, spent, step_events, whole_messages
from agent_factory.runtime.scope import TurnContext, TurnEnd
from agent_factory.runtime.settling import Activation, admitted, settlement
from agent_factory.runtime.spending import Spending
from agent_factory.runtime.start import Start, asked, spender
from agent_factory.runtime.statements import FIRST
from agent_factory.runtime.turn import RunCancelled, conduct

log = structlog.stdlib.get_logger(__name__)


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


class Activations:
    """Conducts the turns of one process, and commits what comes of them."""

    def __init__(
        self,
        pool: Pool,
        writer: Writer,
        ledger: Ledger,
        definitions: Definitions,
        conversations: Conversations,
        *,
        attempts: int,
    ) -> None:
        """Work with what the engine has; a run whose processes died more than `attempts` times fails."""
        self._pool = pool
        self._writer = writer
        self._ledger = ledger
        self._definitions = definitions
        self._conversations = conversations
        self._attempts = attempts

    async def first(self, live: LiveRun, start: Start, ready: Ready, conversation: Conversation | None) -> None:
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
            input=to_json(asked(start)),
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
            spending=Spending(self._ledger, spender(start, live.id)),
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

    async def again(self, live: LiveRun, run: RunState) -> None:
        """Work on a run from what is recorded of it; nothing is raised."""
        try:
            if run.epoch > self._attempts:
                told = f"Its process died {self._attempts} times while it was at work."
                live.finish(*await self.end(run, RunInterrupted(told)))
                return
            try:
                work = await self._reread(live, run)
            except (Unavailable, Fenced):
                raise
            except Problem as problem:
                live.finish(*await self.end(run, problem))
                return
            await self._work(work)
        except Unavailable as problem:
            live.lose(problem)
        except (Fenced, asyncio.CancelledError):
            live.move()
        except Exception:
            log.exception("a run could not be taken over", run_id=str(run.id))
            live.lose(InternalFailure("The run could not be taken over; it is tried again."))

    async def end(self, run: RunState, problem: Problem) -> tuple[int, TurnFailed, Settle]:
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
        return Spending(self._ledger, spender)

    async def _place(self, run: RunState) -> tuple[int, Conversation | None]:
        """Find a run's place in its session: the number of its first message, and what was said before."""
        if run.session_id is None:
            return 0, None
        rows = await self._pool.fetch(FIRST, run.session_id, run.organization_id, run.id, again=True)
        seq = rows[0]["seq"]
        if seq is None:
            raise SessionNotFound("The run's session was deleted.")
        return seq, await read_conversation(self._pool, run.organization_id, run.session_id, seq)


def _activation(run: RunState, seq: int) -> Activation:
    return Activation(
        id=run.id,
        organization_id=run.organization_id,
        session_id=run.session_id,
        epoch=run.epoch,
        seq=seq,
        started_at=run.started_at,
    )
