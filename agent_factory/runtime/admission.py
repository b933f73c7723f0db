"""Lets a message into a turn: what the input guardrails make of it."""

import msgspec

from agent_factory.core.event import ApprovalNeeded
from agent_factory.core.guardrail import GuardrailBlocked
from agent_factory.core.message import Message, Part, Text, ToolResult
from agent_factory.runtime.scope import Scope, Waiting, decision


async def admit(scope: Scope, message: Message) -> Message:
    """Return the message as it may go on, the same object where nothing changed.

    Raises `GuardrailBlocked`, or `Waiting` where a person has to decide.
    """
    if not scope.compiled.guards.has_input:
        return message
    parts = tuple([await _part(scope, f"input/{i}", part) for i, part in enumerate(message.parts)])
    return message if parts == message.parts else Message(message.role, parts)


async def _part(scope: Scope, path: str, part: Part) -> Part:
    match part:
        case Text(text):
            return Text(await _pass(scope, path, text))
        case ToolResult():
            return msgspec.structs.replace(part, content=await _pass(scope, path, part.content))
        case _:
            return part


async def _pass(scope: Scope, path: str, text: str) -> str:
    verdict = await scope.compiled.guards.input(text)
    if verdict.action == "block":
        raise GuardrailBlocked(verdict.reason)
    if verdict.action != "ask":
        return verdict.text
    said = decision(scope, f"{path}/approval")
    if said is None:
        raise Waiting(ApprovalNeeded(path=f"{path}/approval", reason=verdict.reason, name="input"))
    if not said:
        raise GuardrailBlocked("A person refused to let the message in.")
    return text
