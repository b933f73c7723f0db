"""A turn of an agent inside a task: its steps lie below the task's path, its questions suspend the run."""

from typing import Any, cast

import msgspec

from agent_factory.core.agent import Agent, digest, parse_agent
from agent_factory.core.event import (
    ApprovalNeeded,
    ModelFinished,
    Retrying,
    ToolFinished,
    ToolStarted,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
)
from agent_factory.core.journal import Entry, Journal
from agent_factory.core.message import Message
from agent_factory.core.workflow import pinned_name
from agent_factory.kit.errors import NotFound, Problem
from agent_factory.runtime.compile import Compiled, compile_agent
from agent_factory.runtime.flow.context import TaskCall, read_outcome
from agent_factory.runtime.flow.leaves.reach import resources_of
from agent_factory.runtime.flow.outcome import Suspended, WaitFor
from agent_factory.runtime.scope import SubJournal, TurnContext
from agent_factory.runtime.turn import conduct


async def compiled_agent(call: TaskCall, agent: str | dict[str, Any], version: int | None = None) -> Compiled:
    """Make a pinned agent, by name, or a whole definition ready to run; once in a run."""
    context = call.context
    key = pinned_name(agent, version) if isinstance(agent, str) else digest(agent)

    async def make() -> Compiled:
        found = context.agents.get(key) if isinstance(agent, str) else parse_agent(agent)
        if found is None:
            raise NotFound(f"No agent {key!r} was pinned when the run started.")
        return await compile_agent(found, resources_of(call), context.agents, organization_id=context.organization_id)

    return await context.made.once(("agent", key), make)


async def take_turn(
    call: TaskCall, compiled: Compiled, message: Message, place: str, *, called: tuple[str, ...] = ()
) -> TurnCompleted:
    """Conduct a turn whose steps lie below `place`, and return its end.

    `called` is what the task names the agent, beside its definition's own name.
    Model and tool calls that are recorded there are not made again. A turn
    that fails raises its problem, one with a question for people `Suspended`.
    """
    problems: list[Problem] = []
    spending = call.context.spending
    context = TurnContext(
        run_id=call.context.run_id,
        organization_id=call.context.organization_id,
        prefix=f"{place}/",
        stream=False,
        on_failure=problems.append,
        spending=spending and spending.of(*called, compiled.agent.name).at(f"{place}/"),
    )

    def emit(event: TurnEvent) -> None:
        # Only what happened is passed on: the words of a turn are for the task.
        if isinstance(event, ToolStarted | ToolFinished | ModelFinished | Retrying):
            call.context.emit(msgspec.structs.replace(event, path=f"{place}/{event.path}"))

    journal = _Decided(call.context.journal, place)
    end = await conduct(compiled, (), message, journal=journal, context=context, emit=emit)
    match end:
        case TurnCompleted():
            return end
        case TurnFailed():
            raise problems[-1]
        case ApprovalNeeded():
            raise await _suspended(call, end, compiled.agent, place)


def answer_of(end: TurnCompleted, compiled: Compiled) -> Any:  # noqa: ANN401 - any JSON value
    """Give what a task makes of a turn: the document that its schema asks for, or its text with what it cost."""
    if compiled.output_schema is not None:
        return end.output
    usage = msgspec.to_builtins(end.usage)
    return {
        "text": end.text,
        "finish": end.finish,
        "usage": {"input_tokens": 0, "output_tokens": 0, **usage, "total_tokens": end.usage.total_tokens},
        "cost_usd": end.cost_usd,
    }


async def _suspended(call: TaskCall, needed: ApprovalNeeded, agent: Agent, place: str) -> Suspended:
    needed = msgspec.structs.replace(needed, path=f"{place}/{needed.path}")
    title = f"{agent.name}: {needed.name or needed.reason}"[:1000]
    asked: dict[str, Any] = {"reason": needed.reason, "name": needed.name, "arguments": needed.arguments}
    data: dict[str, Any] = {
        **asked,
        "title": title,
        "details": {"agent": agent.name, **asked},
        "roles": [],
        "users": [],
        "default": None,
    }
    wait = WaitFor(needed.path, "approval", data=data)
    if await call.context.waits.register(wait):
        call.context.emit(needed)
    return Suspended(wait)


class _Decided(SubJournal):
    """A run's journal as the turn below a task sees it: what people decided reads as in a turn of its own."""

    def __init__(self, journal: Journal, place: str) -> None:
        super().__init__(journal, place)

    def get(self, path: str) -> Entry | None:
        entry = super().get(path)
        if entry is None or not path.endswith("/approval"):
            return entry
        decided = read_outcome(entry).output
        approved = isinstance(decided, dict) and cast("dict[str, Any]", decided).get("approved") is True
        return msgspec.structs.replace(entry, output=msgspec.Raw(msgspec.json.encode({"approved": approved})))
