"""Turns of agents in this process (S55, S61)."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from agent_factory.core.agent import Agent
from agent_factory.core.event import ApprovalNeeded, TextPiece, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.core.journal import Entry, MemoryJournal
from agent_factory.core.message import Message, user
from agent_factory.core.model import Usage
from agent_factory.core.tool import ToolFactory
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.errors import FieldError, Kind, Problem
from agent_factory.kit.redaction import Redactor, secret_values
from agent_factory.runtime.compile import Resources, compile_agent
from agent_factory.runtime.doors import doors
from agent_factory.runtime.models import Models
from agent_factory.runtime.scope import TurnContext
from agent_factory.runtime.turn import turn
from agent_factory.security.egress import Egress
from agent_factory.settings import Settings

Decide = Callable[[ApprovalNeeded], bool | Awaitable[bool]]
"""Answers whether a call that needs consent may be made."""


class ApprovalMissing(Problem):
    """A call needs a person's consent, and nobody is there to give it."""

    kind = Kind.FORBIDDEN
    code = "approval_missing"
    title = "A person has to approve this"


class Result(msgspec.Struct, frozen=True):
    """What a turn gave.

    `messages` is the whole conversation so far: pass it as `history` to go on.
    `output` is set where the agent has an output schema; `cost_usd` is a
    decimal string, absent where a price is unknown.
    """

    text: str
    messages: tuple[Message, ...]
    usage: Usage
    output: Any = None
    cost_usd: str | None = None


@asynccontextmanager
async def open_resources(
    settings: Settings | None = None, *, workspace: Path | None = None
) -> AsyncGenerator[Resources, None]:
    """Open what agents may reach, for any number of turns.

    `settings` default to the environment's, `workspace` is the folder of the
    file tools and defaults to the present one.
    """
    chosen = settings or Settings()
    egress = Egress(chosen.egress)
    redactor = Redactor(secret_values(chosen))
    try:
        yield Resources(
            models=Models(chosen.models, egress),
            tools=Catalog[ToolFactory]("agent_factory.tools"),
            doors=doors(chosen.tools, egress, workspace or chosen.tools.workspace or Path.cwd(), redactor=redactor),
            redactor=redactor,
        )
    finally:
        await egress.close()


async def stream(
    agent: Agent,
    message: str | Message,
    *,
    history: Sequence[Message] = (),
    agents: Mapping[str, Agent] | None = None,
    resources: Resources | None = None,
    approve: Decide | None = None,
) -> AsyncGenerator[TurnEvent, None]:
    """Run one turn and give its events as they happen; closing the generator cancels the turn.

    The last event is `TurnCompleted` or `TurnFailed`. `agents` are those that
    the agent's `agent` tools may call. Where a call needs consent, `approve`
    is asked, and without it the turn ends with `ApprovalNeeded`. Raises
    `Invalid` or `UnknownModel` for an agent that cannot run as it stands.
    """
    if resources is None:
        async with open_resources() as opened:
            async for event in stream(
                agent, message, history=history, agents=agents, resources=opened, approve=approve
            ):
                yield event
        return
    compiled = await compile_agent(agent, resources, agents)
    said = user(message) if isinstance(message, str) else message
    journal = MemoryJournal()
    shown = 0
    while True:
        asked: ApprovalNeeded | None = None
        repeated = shown
        async with aclosing(turn(compiled, history, said, journal=journal, context=TurnContext())) as events:
            async for event in events:
                if isinstance(event, TextPiece):
                    # After an approval the turn starts over from its journal, and repeats the words it has said.
                    news = event.text[repeated:]
                    repeated -= len(event.text) - len(news)
                    shown += len(news)
                    if news:
                        yield TextPiece(news)
                elif isinstance(event, ApprovalNeeded) and approve is not None:
                    asked = event
                else:
                    yield event
        if asked is None or approve is None:
            return
        answer = approve(asked)
        approved = answer if isinstance(answer, bool) else await answer
        await journal.put(_decided(asked, approved=approved), durable=True)


async def run(
    agent: Agent,
    message: str | Message,
    *,
    history: Sequence[Message] = (),
    agents: Mapping[str, Agent] | None = None,
    resources: Resources | None = None,
    approve: Decide | None = None,
) -> Result:
    """Run one turn to its end, as `stream` does.

    Raises the `Problem` that ended the turn, for example `ModelUnavailable`,
    `GuardrailBlocked` or `TokenLimitExceeded`.
    """
    said = user(message) if isinstance(message, str) else message
    async with aclosing(
        stream(agent, said, history=history, agents=agents, resources=resources, approve=approve)
    ) as events:
        async for event in events:
            if isinstance(event, TurnCompleted):
                return Result(
                    text=event.text,
                    messages=(*history, event.admitted or said, *event.messages),
                    usage=event.usage,
                    output=event.output,
                    cost_usd=event.cost_usd,
                )
            if isinstance(event, TurnFailed):
                raise typed(event.problem)
            if isinstance(event, ApprovalNeeded):
                raise ApprovalMissing(f"{event.name} needs consent: {event.reason}. Pass `approve` to decide.")
    raise Problem("The turn ended without an event that says how.")


def run_sync(
    agent: Agent,
    message: str | Message,
    *,
    history: Sequence[Message] = (),
    agents: Mapping[str, Agent] | None = None,
    approve: Decide | None = None,
) -> Result:
    """Do as `run` does, from code that is not asynchronous."""
    return asyncio.run(run(agent, message, history=history, agents=agents, approve=approve))


def typed(report: Mapping[str, Any]) -> Problem:
    """Give the problem that a report with `code` and `detail` tells of, as its own class where it is known."""
    code, detail = report.get("code"), str(report.get("detail") or "")
    faults = [FieldError(e["pointer"], e["detail"]) for e in report.get("errors") or ()]
    for kind in _below(Problem):
        if kind.code == code and kind.__init__ is Problem.__init__:
            return kind(detail, errors=faults)
    return Problem(detail, errors=faults)


def _below(kind: type[Problem]) -> Iterator[type[Problem]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _below(child)


def _decided(asked: ApprovalNeeded, *, approved: bool) -> Entry:
    return Entry(
        path=asked.path,
        kind="approval",
        name=asked.name,
        input=msgspec.Raw(msgspec.json.encode({"reason": asked.reason})),
        output=msgspec.Raw(msgspec.json.encode({"approved": approved})),
    )
