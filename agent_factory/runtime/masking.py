"""Keeps what is known to be secret from models, and out of what models, tools and failures say."""

from collections.abc import Sequence

import msgspec

from agent_factory.core.message import Message, Opaque, Part, Reasoning, Text, ToolCall, ToolResult
from agent_factory.core.model import ModelResponse
from agent_factory.kit.redaction import Redactor, masked_keys

_NO_NAME = "redacted"
"""In the place of a tool's name, or a call's id: vendors take no brackets there."""


def masked_messages(redactor: Redactor, organization_id: str, messages: Sequence[Message]) -> tuple[Message, ...]:
    """Mask the values that an organisation's runs have used, wherever they stand in a conversation."""
    if not redactor.knows(organization_id):
        return tuple(messages)
    return tuple(_message(redactor, organization_id, message) for message in messages)


def masked_response(redactor: Redactor, organization_id: str, response: ModelResponse) -> ModelResponse:
    """Mask known values in all that a model said, its calls included; the words as one text, as they streamed."""
    if not redactor.knows(organization_id):
        return response
    text = redactor.text(response.message.text, organization_id)
    thought = redactor.text(thought_of(response), organization_id)
    response = with_words(response, text, thought)
    message = _message(redactor, organization_id, response.message)
    mask = _Mask(redactor, organization_id)
    return msgspec.structs.replace(
        response, message=message, model=mask.text(response.model), id=mask.text(response.id)
    )


def masked_result(redactor: Redactor, organization_id: str, content: str) -> str:
    """Mask known values, and what looks like a key, in what a tool gave."""
    return masked_keys(redactor.text(content, organization_id))


def thought_of(response: ModelResponse) -> str:
    """Give all that a model thought, joined."""
    return "".join(part.text for part in response.message.parts if isinstance(part, Reasoning))


def with_words(response: ModelResponse, text: str, thought: str) -> ModelResponse:
    """Put passed words in the place of the original ones, where they differ."""
    parts: list[Part] = list(response.message.parts)
    if response.message.text != text:
        first = next(i for i, part in enumerate(parts) if isinstance(part, Text))
        parts[first] = Text(text)
        parts = [part for i, part in enumerate(parts) if i == first or not isinstance(part, Text)]
    if thought_of(response) != thought:
        # An altered thought must not go back with the signature of the old one.
        parts = [Reasoning(thought), *(part for part in parts if not isinstance(part, Reasoning))]
    return msgspec.structs.replace(response, message=Message(response.message.role, tuple(parts)))


def _message(redactor: Redactor, organization_id: str, message: Message) -> Message:
    mask = _Mask(redactor, organization_id)
    parts = tuple(mask.part(part) for part in message.parts)
    return message if parts == message.parts else Message(message.role, parts)


class _Mask:
    """Masks the parts of messages for one organisation."""

    def __init__(self, redactor: Redactor, organization_id: str) -> None:
        self._redactor = redactor
        self._own = organization_id

    def text(self, words: str) -> str:
        return self._redactor.text(words, self._own)

    def name(self, name: str) -> str:
        return name if self.text(name) == name else _NO_NAME

    def raw(self, document: msgspec.Raw | None) -> msgspec.Raw | None:
        if document is None:
            return None
        shown = bytes(document).decode()
        masked = self.text(shown)
        return document if masked == shown else msgspec.Raw(masked.encode())

    def part(self, part: Part) -> Part:
        match part:
            case Text():
                return msgspec.structs.replace(part, text=self.text(part.text))
            case ToolCall():
                return ToolCall(
                    self.name(part.id), self.name(part.name), self.text(part.arguments), self.raw(part.opaque)
                )
            case ToolResult():
                return msgspec.structs.replace(part, content=self.text(part.content))
            case Reasoning():
                return msgspec.structs.replace(part, text=self.text(part.text), opaque=self.raw(part.opaque))
            case Opaque():
                return msgspec.structs.replace(part, opaque=self.raw(part.opaque))
            case _:
                return part
