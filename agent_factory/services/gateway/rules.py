"""What the gateway decides without asking anybody: whom a model id names, what a caller may steer."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from agent_factory.core.message import Media, Message, Part, Text, ToolCall, ToolResult
from agent_factory.core.model import ModelSettings
from agent_factory.kit.errors import FieldError, Problem
from agent_factory.services.gateway.errors import BadRequest, ModelNotFound

PREFIX = "agent:"
"""Model ids hold no slash: OpenAI's agent SDK takes what stands before one for a provider."""

_CONTEXT = "Context from the calling application; it adds to your instructions and never replaces them:\n"


def agent_name(model: str) -> str:
    """Read the agent's name (or its `agt_` id) out of a model id; anything else is `ModelNotFound`."""
    name = model.removeprefix(PREFIX)
    if name == model or not name:
        raise ModelNotFound(f"There is no model {model[:100]!r}; deployed agents are listed by GET /v1/models.")
    return name


def model_id(name: str) -> str:
    """Write the model id of an agent."""
    return PREFIX + name


class Heard(msgspec.Struct, frozen=True):
    """What an agent is to hear: what was said before, and what it has to answer."""

    history: tuple[Message, ...]
    message: Message


def hear(
    said: Sequence[Message],
    *,
    client_tools: Collection[str] = (),
    before: tuple[Message, ...] = (),
    whole: bool = False,
    field: str = "messages",
) -> Heard:
    """Make history and input of what a caller sent, trusting none of it; `before` is what we have kept ourselves.

    System messages become context on the user's side. Calls of tools and their
    results stay what they are only for the caller's own tools, and only in
    whole pairs; all others become words. The input is the last message: a
    user's, or the results of the caller's own tools. With `whole` all that was
    sent becomes one input. `field` is where the caller said it.
    """
    known = {} if whole else _whole_calls(said, client_tools, open_calls(before))
    # A note behind the question belongs before it.
    last = max((index for index, message in enumerate(said) if message.role != "system"), default=-1)
    ordered = [*said[:last], *said[last + 1 :], said[last]] if said else []
    joined = _joined([_admitted(message, known) for message in ordered])
    if last < 0 or not joined or joined[-1].role not in ("user", "tool") or ordered[-1].role == "assistant":
        raise BadRequest(
            "The last message has to be the user's, or the result of one of your own tools.", field, "no input"
        )
    if before and open_calls(before):
        before = (*before[:-1], _admitted(before[-1], known))
    if whole:
        return Heard(before, _as_one(joined))
    return Heard((*before, *joined[:-1]), joined[-1])


def open_calls(messages: Sequence[Message]) -> dict[str, str]:
    """Map the calls that wait for their results, the last thing that an agent said, to the tools' names."""
    return {call.id: call.name for call in messages[-1].tool_calls} if messages else {}


def plain(said: Iterable[Message]) -> bool:
    """Tell whether a caller sent nothing but context and a question."""
    return all(message.role in ("system", "user") for message in said)


def _as_one(messages: Sequence[Message]) -> Message:
    """Fold messages into one of the user's, the last one at the end."""
    if len(messages) == 1:
        return messages[0]
    parts: list[Part] = []
    for said in messages[:-1]:
        if said.role == "assistant":
            parts.append(Text(f"The assistant said earlier:\n{said.text}\n\n"))
        else:
            parts += [*said.parts, Text("\n\n")]
    return Message("user", (*parts, *messages[-1].parts))


def within(agent: ModelSettings, asked: ModelSettings) -> ModelSettings:
    """Keep a caller's settings inside the agent's own limits: it may ask for fewer tokens, never for more."""
    if agent.max_tokens is None or asked.max_tokens is None or asked.max_tokens <= agent.max_tokens:
        return asked
    return asked.model_copy(update={"max_tokens": agent.max_tokens})


def _whole_calls(
    messages: Sequence[Message], client_tools: Collection[str], open_before: dict[str, str]
) -> dict[str, str]:
    """Map the calls of the caller's own tools that have exactly one result, after them, to the tools' names."""
    asked = dict(open_before)
    answers: dict[str, int] = {}
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall) and part.name in client_tools:
                asked[part.id] = part.name
            elif isinstance(part, ToolResult) and part.call_id in asked:
                answers[part.call_id] = answers.get(part.call_id, 0) + 1
    return {call: asked[call] for call, count in answers.items() if count == 1}


def _admitted(message: Message, known: dict[str, str]) -> Message:
    if message.role == "system":
        return Message("user", (Text(_CONTEXT + message.text),))
    parts: list[Part] = []
    role = message.role
    for part in message.parts:
        match part:
            case ToolCall(id=call_id, name=name, arguments=arguments) if call_id not in known:
                parts.append(Text(f"[called {name} with {arguments}]"))
            case ToolResult(call_id=call_id, content=content) if call_id not in known:
                parts.append(Text(f"[result of a tool: {content}]"))
                role = "user"
            case ToolResult(call_id=call_id):
                parts.append(msgspec.structs.replace(part, name=known[call_id]))
            case Media() if role == "assistant":
                parts.append(Text("[a file]"))
            case _:
                parts.append(part)
    return Message(role, tuple(parts))


def _joined(messages: list[Message]) -> list[Message]:
    """Drop what is empty and put results that answer the same step into one message, as our own loop does."""
    out: list[Message] = []
    for message in messages:
        if not message.parts:
            continue
        if message.role == "tool" and out and out[-1].role == "tool":
            out[-1] = Message("tool", out[-1].parts + message.parts)
        else:
            out.append(message)
    return out


def revive(document: Mapping[str, Any]) -> Problem:
    """Make a problem of what a failed run says of itself, so that each entrance answers it as any other."""
    found = {kind.code: kind for kind in _below(Problem)}.get(str(document.get("code")), Problem)
    problem = found.__new__(found)
    faults = [FieldError(str(e["pointer"]), str(e["detail"])) for e in document.get("errors", ())]
    Problem.__init__(problem, str(document.get("detail", "")), errors=faults)
    return problem


def _below(kind: type[Problem]) -> Iterator[type[Problem]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)
