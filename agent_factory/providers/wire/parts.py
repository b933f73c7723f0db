"""What the wires share: cached encoding of tools, calls that are still coming, numbers from strangers."""

from typing import Any, cast

import msgspec
import orjson

from agent_factory.core.message import ToolCall
from agent_factory.core.model import ModelProtocolError, ToolSpec
from agent_factory.kit.ids import uuid7

_KEPT = 256
_MOST_CALLS = 256
_MOST_ARGUMENTS = 4_000_000


class Encoded:
    """JSON of tool lists, made once a list: an agent sends the same tuple in every call."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: dict[int, tuple[tuple[ToolSpec, ...], orjson.Fragment]] = {}

    def get(self, tools: tuple[ToolSpec, ...]) -> orjson.Fragment | None:
        """Return what was made of this very tuple; holding it keeps its identity its own."""
        found = self._kept.get(id(tools))
        return found[1] if found is not None else None

    def put(self, tools: tuple[ToolSpec, ...], document: object) -> orjson.Fragment:
        """Encode a document and keep it for this tuple."""
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        made = orjson.Fragment(orjson.dumps(document))
        self._kept[id(tools)] = (tools, made)
        return made


class PendingCall:
    """A tool call whose arguments still come in pieces."""

    def __init__(self, call_id: str, name: str) -> None:
        """Begin with what is known."""
        self.id = call_id
        self.name = name
        self.opaque: dict[str, Any] | None = None
        self._pieces: list[str] = []
        self._size = 0

    def add(self, piece: str) -> None:
        """Append a piece of the arguments; far too many are `ModelProtocolError`."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > _MOST_ARGUMENTS:
            raise ModelProtocolError("The arguments of a tool call have no end.")

    @property
    def started(self) -> bool:
        """Whether any argument has come."""
        return bool(self._size)

    def close(self, provider: str) -> ToolCall:
        """Make the call; no arguments at all mean an empty object."""
        arguments = "".join(self._pieces)
        return ToolCall(
            self.id or new_call_id(),
            self.name,
            arguments if arguments.strip() else "{}",
            tagged(provider, self.opaque) if self.opaque else None,
        )


def refuse_flood(calls: int) -> None:
    """Refuse an answer that asks for more calls than any model means."""
    if calls > _MOST_CALLS:
        raise ModelProtocolError("The answer asks for more tool calls than can be meant.")


def new_call_id() -> str:
    """Name a call for which the server gave no id."""
    return f"call_{uuid7().hex}"


def arguments_text(value: object) -> str:
    """Give arguments as JSON text, whether they came as text or as an object."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()


def raw(document: object) -> msgspec.Raw:
    """Keep a foreign document as JSON text."""
    return msgspec.Raw(orjson.dumps(document))


def tagged(provider: str, document: dict[str, Any]) -> msgspec.Raw:
    """Keep what only one provider understands, under that provider's name."""
    return msgspec.Raw(orjson.dumps({"provider": provider, "value": document}))


def untagged(provider: str, opaque: msgspec.Raw | None) -> dict[str, Any]:
    """Give back what `tagged` kept, to its own provider alone."""
    if opaque is None:
        return {}
    document = cast("dict[str, Any]", orjson.loads(bytes(opaque)))
    return document["value"] if document.get("provider") == provider else {}


def mapping(value: object) -> dict[str, Any]:
    """Give an object of a foreign document, or an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """Give a list of a foreign document, or an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def text(value: object) -> str:
    """Give a string of a foreign document, or an empty one for anything else."""
    return value if isinstance(value, str) else ""


def count(value: object) -> int:
    """Read a number of tokens; whatever is no sensible number is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:  # noqa: PLR2004 - far beyond any window
        return 0
    return int(value)


def parsed(provider: str, body: bytes) -> dict[str, Any]:
    """Parse one document of an answer; anything but an object is `ModelProtocolError`."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ModelProtocolError(f"{provider} answered with broken JSON.") from None
    if not isinstance(document, dict):
        raise ModelProtocolError(f"{provider} answered with JSON that is no object.")
    return cast("dict[str, Any]", document)
