"""Workflows in this process: the journal is in memory, waits are waited for here, people are asked here."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from agent_factory.core.agent import Agent
from agent_factory.core.event import RunWaiting, TurnEvent
from agent_factory.core.expressions import ExpressionFailed, compile_expression
from agent_factory.core.journal import Entry, MemoryJournal
from agent_factory.core.model import Usage
from agent_factory.core.workflow import Flow
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Kind, Problem
from agent_factory.kit.ids import encode, uuid7
from agent_factory.kit.money import usd
from agent_factory.local.turns import ApprovalMissing, open_resources
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.flow.context import FlowContext
from agent_factory.runtime.flow.interpreter import interpret
from agent_factory.runtime.flow.leaves import LEAVES
from agent_factory.runtime.flow.outcome import Completed, Failed, Outcome, WaitFor, Waiting
from agent_factory.runtime.flow.variables import MemoryPayloads

YOU = "you"
"""Who decided, as a run sees it."""


class Question(msgspec.Struct, frozen=True):
    """What an approval asks; `deadline` is when it is too late for an answer."""

    path: str
    title: str
    details: Any = None
    deadline: datetime | None = None


class Answer(msgspec.Struct, frozen=True):
    """A person's decision."""

    approved: bool
    comment: str = ""


Decide = Callable[[Question], Answer | Awaitable[Answer]]


class EventMissing(Problem):
    """A run that waits for nothing but events, which come to runs of a server only."""

    kind = Kind.UNAVAILABLE
    code = "event_missing"
    title = "The event cannot come here"


class FlowResult(msgspec.Struct, frozen=True):
    """How a run ended; `error` has code, title, detail and path, `cost_usd` is a decimal text or null."""

    status: Literal["completed", "failed"]
    output: Any
    labels: tuple[str, ...]
    error: dict[str, Any] | None
    usage: Usage
    cost_usd: str | None


def _silent(_event: TurnEvent) -> None:
    """Tell nobody."""


async def run_workflow(
    flow: Flow,
    document: Any = None,  # noqa: ANN401 - any JSON value
    *,
    agents: Mapping[str, Agent] | None = None,
    flows: Mapping[str, Flow] | None = None,
    resources: Resources | None = None,
    sandbox: Any = None,  # noqa: ANN401 - as FlowContext has it
    decide: Decide | None = None,
    emit: Callable[[TurnEvent], None] = _silent,
) -> FlowResult:
    """Run a workflow to its end; cancelling the call cancels what runs.

    `agents` and `flows` are those that its tasks name. `emit` is told what
    happens, as a server's watchers are. Timers are waited for. Where an
    approval is asked for, `decide` answers; without it `ApprovalMissing` is
    raised. A run that waits for nothing but events raises `EventMissing`.
    """
    if resources is None:
        async with open_resources() as opened:
            return await run_workflow(
                flow,
                document,
                agents=agents,
                flows=flows,
                resources=opened,
                sandbox=sandbox,
                decide=decide,
                emit=emit,
            )
    run = _Run()
    while True:
        context = FlowContext(
            journal=run.journal,
            run_id=str(run.id),
            emit=emit,
            payloads=run.payloads,
            resources=resources,
            agents=agents or {},
            flows=flows or {},
            waits=run,
            events=run,
            sandbox=sandbox,
            leaves=LEAVES,
        )
        end = await interpret(flow, document, context)
        if not isinstance(end, Waiting):
            return await _result(end, run, context)
        await run.pass_by(end.waits, decide, emit)


class _Run:
    """What one run remembers, and the doors of its waits and events."""

    def __init__(self) -> None:
        self.id = uuid7()
        self.journal = MemoryJournal()
        self.payloads = MemoryPayloads()
        self._waits: dict[str, WaitFor] = {}
        self._told: dict[str, str] = {}

    async def register(self, wait: WaitFor) -> bool:
        """Remember a wait, so that events of this run reach it."""
        return self._waits.setdefault(wait.path, wait) is wait

    async def emit(self, event_type: str, data: Any, key: str) -> str:  # noqa: ANN401 - any JSON value
        """Bring an event to the waits of this run: there is nobody else."""
        if key not in self._told:
            self._told[key] = encode("evt", uuid7())
            for wait in self._waits.values():
                if wait.event_type == event_type and _matches(wait, data):
                    await self._fire(wait, Outcome(output=data))
        return self._told[key]

    async def pass_by(self, waits: Sequence[WaitFor], decide: Decide | None, emit: Callable[[TurnEvent], None]) -> None:
        """Let at least one of the waits end: by an answer, or by time."""
        waiting = [wait for wait in waits if self.journal.get(wait.path) is None]
        if len(waiting) < len(waits):
            return
        told = ({"path": w.path, "kind": w.kind, "wake_at": w.wake_at, "event_type": w.event_type} for w in waiting)
        emit(RunWaiting(tuple(told)))
        asked = next((wait for wait in waiting if wait.kind == "approval"), None)
        if asked is not None:
            await self._ask(asked, decide)
        else:
            await self._sleep(waiting)

    async def _ask(self, wait: WaitFor, decide: Decide | None) -> None:
        deadline = _moment(wait)
        question = Question(wait.path, str(wait.data.get("title") or wait.path), wait.data.get("details"), deadline)
        if decide is None:
            raise ApprovalMissing(f"{question.title!r} needs a person's decision (at {wait.path}).")
        answer = decide(question)
        given = answer if isinstance(answer, Answer) else await answer
        if deadline is not None and now() > deadline:
            await self._fire(wait, Outcome(status="failed"))
        else:
            decided = {"approved": given.approved, "by": YOU, "comment": given.comment}
            await self._fire(wait, Outcome(output=decided))

    async def _sleep(self, waits: Sequence[WaitFor]) -> None:
        moments = [at for wait in waits if (at := _moment(wait)) is not None]
        if not moments:
            types = ", ".join(sorted({str(wait.event_type) for wait in waits}))
            raise EventMissing(f"The run waits for the event {types}, which comes to runs of a server only.")
        await asyncio.sleep(max(0.0, (min(moments) - now()).total_seconds()))
        for wait in waits:
            at = _moment(wait)
            if at is not None and at <= now():
                await self._fire(wait, Outcome() if wait.kind == "timer" else Outcome(status="failed"))

    async def _fire(self, wait: WaitFor, outcome: Outcome) -> None:
        if self.journal.get(wait.path) is None:
            entry = Entry(
                path=wait.path,
                kind="wait",
                name=wait.kind,
                input=msgspec.Raw(msgspec.json.encode(wait.data)),
                output=msgspec.Raw(msgspec.json.encode(outcome)),
            )
            await self.journal.put(entry, durable=True)


def _moment(wait: WaitFor) -> datetime | None:
    return None if wait.wake_at is None else datetime.fromisoformat(wait.wake_at)


def _matches(wait: WaitFor, data: Any) -> bool:  # noqa: ANN401 - any JSON value
    match = wait.data.get("match")
    try:
        return not match or bool(compile_expression(match)({**wait.data.get("values", {}), "event": data}))
    except ExpressionFailed:
        return False


async def _result(end: Completed | Failed, run: _Run, context: FlowContext) -> FlowResult:
    entries = run.journal.entries.values()
    usage = Usage(sum(e.input_tokens for e in entries), sum(e.output_tokens for e in entries))
    costs = [Decimal(e.cost_usd) for e in entries if e.cost_usd is not None]
    cost = usd(sum(costs, Decimal())) if costs else None
    if isinstance(end, Failed):
        return FlowResult("failed", None, (), {**end.problem, "path": end.path}, usage, cost)
    output = msgspec.to_builtins(await context.shelf.load(end.output))
    return FlowResult("completed", output, end.labels, None, usage, cost)
