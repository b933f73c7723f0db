"""Messages of a conversation in our own form, which every wire format maps to and from."""

from typing import Literal

import msgspec


class Text(msgspec.Struct, frozen=True, tag="text", omit_defaults=True):
    """Words."""

    text: str


class Media(msgspec.Struct, frozen=True, tag="media", omit_defaults=True):
    """An image, sound or document: by `url`, or as base64 `data` with its media type."""

    media_type: str
    url: str | None = None
    data: str | None = None
    name: str | None = None


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning", omit_defaults=True):
    """What a model thought; `opaque` goes back to the same provider untouched."""

    text: str = ""
    provider: str | None = None
    opaque: msgspec.Raw | None = None


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call", omit_defaults=True):
    """A model's request to run a tool; `arguments` is the JSON text exactly as it came."""

    id: str
    name: str
    arguments: str
    opaque: msgspec.Raw | None = None


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result", omit_defaults=True):
    """What a tool answered to the call with the same id."""

    call_id: str
    name: str
    content: str
    is_error: bool = False
    media: tuple[Media, ...] = ()


class Opaque(msgspec.Struct, frozen=True, tag="opaque", omit_defaults=True):
    """A part that only its provider understands; kept and sent back to that provider alone."""

    provider: str
    opaque: msgspec.Raw


Part = Text | Media | Reasoning | ToolCall | ToolResult | Opaque
Role = Literal["system", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of a conversation; messages are appended and never rewritten."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All words of the message, joined."""
        return "".join(p.text for p in self.parts if isinstance(p, Text))

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls that the message asks for, in order."""
        return [p for p in self.parts if isinstance(p, ToolCall)]


class Summary(msgspec.Struct, frozen=True):
    """The running summary of a conversation's first `upto` messages."""

    text: str
    upto: int


def user(text: str) -> Message:
    """Make a user's message of words."""
    return Message("user", (Text(text),))


def assistant(text: str) -> Message:
    """Make a model's message of words."""
    return Message("assistant", (Text(text),))
