"""Keeps what is known to be secret from models: in what is said to them, and in what tools and failures say."""

from collections.abc import Sequence

import msgspec

from agent_factory.core.message import Message, Part, Text, ToolCall, ToolResult
from agent_factory.kit.redaction import Redactor, masked_keys


def masked_messages(redactor: Redactor, organization_id: str, messages: Sequence[Message]) -> tuple[Message, ...]:
    """Mask the values that an organisation's runs have used, wherever they stand in a conversation."""
    if not redactor.knows(organization_id):
        return tuple(messages)
    return tuple(_message(redactor, organization_id, message) for message in messages)


def masked_result(redactor: Redactor, organization_id: str, content: str) -> str:
    """Mask known values, and what looks like a key, in what a tool gave."""
    return masked_keys(redactor.text(content, organization_id))


def _message(redactor: Redactor, organization_id: str, message: Message) -> Message:
    parts = tuple(_part(redactor, organization_id, part) for part in message.parts)
    return message if parts == message.parts else Message(message.role, parts)


def _part(redactor: Redactor, organization_id: str, part: Part) -> Part:
    match part:
        case Text():
            return msgspec.structs.replace(part, text=redactor.text(part.text, organization_id))
        case ToolCall():
            return msgspec.structs.replace(part, arguments=redactor.text(part.arguments, organization_id))
        case ToolResult():
            return msgspec.structs.replace(part, content=redactor.text(part.content, organization_id))
        case _:
            return part
