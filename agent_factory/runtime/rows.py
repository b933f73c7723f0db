"""Runs as the database knows them, and the events that can be told from that."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.agent import Agent, digest, parse_agent
from agent_factory.core.event import ApprovalNeeded, ModelFinished, ToolFinished, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.core.journal import Entry
from agent_factory.core.message import Message, ToolResult
from agent_factory.core.model import Finish, ModelResponse, ModelSettings, ToolSpec, Usage
from agent_factory.database.pool import Pool
from agent_factory.kit.errors import NotFound
from agent_factory.kit.money import usd
from agent_factory.runtime.hub import EventId
from agent_factory.runtime.journal import to_json
from agent_factory.runtime.statements import RUN, SAID, SNAPSHOT, STEPS

_decode_response = msgspec.json.Decoder(ModelResponse).decode
_decode_question = msgspec.json.Decoder(ApprovalNeeded).decode
_decode_messages = msgspec.json.Decoder(tuple[Message, ...]).decode


class RunNotFound(NotFound):
    """No such run, or not the caller's."""

    code = "run_not_found"
    title = "Run not found"


class Input(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run was asked for, as it is stored; `history` only where there is no session."""

    message: Message
    history: tuple[Message, ...] = ()
    settings: dict[str, Any] | None = None
    output: dict[str, Any] | None = None
    client_tools: tuple[ToolSpec, ...] = ()

    def model_settings(self) -> ModelSettings | None:
        """Give the caller's own settings, if there were any."""
        return None if self.settings is None else ModelSettings.model_validate(self.settings)


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run left, as it is stored; `messages` only where no session keeps them."""

    text: str = ""
    output: Any = None
    finish: Finish = "stop"
    usage: Usage = Usage()
    messages: tuple[Message, ...] = ()


class Definition(msgspec.Struct, frozen=True):
    """What a run pins when it starts: the agent and every agent that it may call."""

    agent: Agent
    agents: dict[str, Agent]


class RunState(msgspec.Struct, frozen=True):
    """A run's row."""

    id: UUID
    organization_id: UUID
    source: str
    agent_id: UUID | None
    agent_version: int | None
    session_id: UUID | None
    snapshot: str
    status: str
    input: str | None
    output: str | None
    error: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    epoch: int
    owner: str | None
    started_at: datetime
    key_id: UUID | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the run."""
        return self.status in ("completed", "failed", "cancelled")

    def asked(self) -> Input:
        """Give what the run was asked for; `RunNotFound` where that was deleted with its session."""
        if self.input is None:
            raise RunNotFound("What the run was asked for was deleted.")
        return msgspec.json.decode(self.input, type=Input)

    def question(self) -> ApprovalNeeded | None:
        """Give what a waiting run waits for."""
        if self.status != "waiting" or self.output is None:
            return None
        return _decode_question(self.output)


def run_state(row: Any) -> RunState:  # noqa: ANN401 - a driver's record
    """Make a run of a record."""
    return RunState(**dict(row.items()))


async def read_run(pool: Pool, organization_id: UUID, run_id: UUID) -> RunState:
    """Read a run; one of others is `RunNotFound`."""
    rows = await pool.fetch(RUN, run_id, organization_id, again=True)
    if not rows:
        raise RunNotFound("There is no such run, or it is not yours.")
    return run_state(rows[0])


async def read_steps(pool: Pool, organization_id: UUID, run_id: UUID, after: int = 0) -> list[tuple[int, Entry]]:
    """Read a run's recorded steps in order, those after a number only."""
    rows = await pool.fetch(STEPS, run_id, organization_id, after, again=True)
    return [
        (
            row["ord"],
            Entry(
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
            ),
        )
        for row in rows
    ]


def write_definition(agent: Agent, agents: dict[str, Agent]) -> tuple[str, str]:
    """Write what a run pins, and name it by its content."""
    document = {"agent": agent.to_dict(), "agents": {name: a.to_dict() for name, a in agents.items()}}
    return digest(document), to_json(document)


async def read_definition(pool: Pool, organization_id: UUID, snapshot: str) -> Definition:
    """Read what a run has pinned."""
    rows = await pool.fetch(SNAPSHOT, organization_id, snapshot, again=True)
    document: dict[str, Any] = msgspec.json.decode(rows[0]["definition"])
    agents = {name: parse_agent(one) for name, one in document["agents"].items()}
    return Definition(parse_agent(document["agent"]), agents)


def step_events(entries: Sequence[tuple[int, Entry]]) -> list[tuple[EventId, TurnEvent]]:
    """Tell all recorded steps of a run as events, with the ids that they had when they happened."""
    calls: dict[str, str] = {}
    told: list[tuple[EventId, TurnEvent]] = []
    for number, entry in entries:
        event = step_event(entry, calls)
        if event is not None:
            told.append((EventId(number + 1, 0), event))
    return told


def step_event(entry: Entry, calls: dict[str, str]) -> TurnEvent | None:
    """Tell one recorded step of a turn; `calls` are the ids of tool calls by path, filled and used on the way."""
    match entry.kind:
        case "model":
            response = _decode_response(entry.output)
            above, _, step = entry.path.rpartition("model/")
            calls |= {f"{above}tool/{step}/{i}": call.id for i, call in enumerate(response.message.tool_calls)}
            return ModelFinished(
                path=entry.path,
                message=response.message,
                usage=response.usage,
                model=response.model,
                provider=entry.name.partition(":")[0],
                cost_usd=entry.cost_usd,
                duration_ms=entry.duration_ms,
            )
        case "tool":
            content = msgspec.json.decode(entry.output, type=str)
            call_id = calls.get(entry.path, "")
            return ToolFinished(entry.path, call_id, entry.name, content, entry.is_error, entry.duration_ms)
        case "approval":
            return _decode_question(entry.input)
        case "summary" | "task" | "wait" | "resume":
            return None


async def end_event(pool: Pool, run: RunState) -> TurnCompleted | TurnFailed | ApprovalNeeded | None:
    """Tell a run's end, or what it waits for; None while it works."""
    if run.status == "waiting":
        return run.question()
    if not run.ended:
        return None
    output = msgspec.json.decode(run.output, type=Output) if run.output else Output()
    messages = output.messages
    if run.session_id is not None:
        rows = await pool.fetch(SAID, run.session_id, run.organization_id, run.id, again=True)
        messages = _decode_messages(rows[0]["messages"])[1:] if rows[0]["messages"] else ()
    cost = None if run.cost_usd is None else usd(run.cost_usd)
    if run.status == "completed":
        return TurnCompleted(output.text, messages, output.usage, output.output, cost, output.finish)
    problem: dict[str, Any] = msgspec.json.decode(run.error) if run.error else {}
    return TurnFailed(problem, messages, output.usage, cost)


def whole_messages(entries: Sequence[Entry]) -> tuple[Message, ...]:
    """Give what the recorded steps say as a valid history: each call with its result, or with a note instead."""
    results = {entry.path: entry for entry in entries if entry.kind == "tool" and entry.path.count("/") == 2}  # noqa: PLR2004 - tool/step/index
    said: list[Message] = []
    for entry in entries:
        if entry.kind != "model" or not entry.path.startswith("model/"):
            continue
        message = _decode_response(entry.output).message
        calls = message.tool_calls
        if not calls:
            continue  # an answer that nobody has checked against the guardrails' last word
        step = entry.path.removeprefix("model/")
        parts: list[ToolResult] = []
        for index, call in enumerate(calls):
            done = results.get(f"tool/{step}/{index}")
            if done is None:
                parts.append(ToolResult(call.id, call.name, "Not run: the run ended before.", is_error=True))
            else:
                content = msgspec.json.decode(done.output, type=str)
                parts.append(ToolResult(call.id, call.name, content, done.is_error))
        said += [message, Message("tool", tuple(parts))]
    return tuple(said)


def spent(entries: Sequence[Entry]) -> tuple[Usage, Decimal | None]:
    """Sum the tokens and the money of recorded steps; money is None where no price was known."""
    usage = Usage(sum(e.input_tokens for e in entries), sum(e.output_tokens for e in entries))
    costs = [Decimal(e.cost_usd) for e in entries if e.cost_usd is not None]
    return usage, sum(costs, Decimal(0)) if costs else None
