"""Anthropic messages: the answer side, whole and streamed."""

from typing import Any

import orjson

from agent_factory.core.message import Message, Opaque, Part, Reasoning, Text, ToolCall
from agent_factory.core.model import (
    Done,
    Finish,
    ModelEvent,
    ModelProtocolError,
    ModelRequest,
    ModelResponse,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from agent_factory.providers.wire.failures import stream_failure
from agent_factory.providers.wire.messages_request import request_body
from agent_factory.providers.wire.parts import (
    Encoded,
    arguments_text,
    count,
    items,
    mapping,
    new_call_id,
    parsed,
    raw,
    refuse_flood,
    text,
)
from agent_factory.providers.wire.sse import Parser

_VERSION = "2023-06-01"
_FINISH: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_PIECES = {"text": "text", "thinking": "thinking", "signature": "signature", "partial_json": "input"}
"""The fields of a delta that continue a field of their block; other strings continue the one of their name."""


class AnthropicMessages:
    """The wire of Anthropic, and of the servers that speak like it."""

    path = "/messages"

    def __init__(self, provider: str) -> None:
        """Start with an empty cache of encoded tools."""
        self._provider = provider
        self._tools = Encoded()

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Give the version, and the key where there is one."""
        return {"anthropic-version": _VERSION} | ({"x-api-key": api_key} if api_key else {})

    def encode(self, request: ModelRequest, *, stream: bool) -> bytes:
        """Write the request's body."""
        return orjson.dumps(request_body(request, self._provider, self._tools, stream=stream))

    def decode(self, body: bytes) -> ModelResponse:
        """Read a whole answer; a malformed one is `ModelProtocolError`."""
        document = parsed(self._provider, body)
        if document.get("type") == "error":
            raise stream_failure(self._provider, document.get("error"))
        if not isinstance(document.get("content"), list):
            raise ModelProtocolError(f"{self._provider} answered without content.")
        parts = [read_block(self._provider, mapping(b)) for b in items(document["content"])]
        return _response(document, parts, document.get("stop_reason"), mapping(document.get("usage")))

    def decoder(self) -> "MessagesDecoder":
        """Begin to read a streamed answer."""
        return MessagesDecoder(self._provider)


def read_block(provider: str, block: dict[str, Any]) -> Part | None:
    """Read one block; what only the vendor understands is kept as it is."""
    kind = block.get("type")
    if kind == "text":
        words = text(block.get("text"))
        return Text(words) if words else None
    if kind == "tool_use":
        arguments = arguments_text(block.get("input"))
        return ToolCall(
            text(block.get("id")) or new_call_id(),
            text(block.get("name")),
            arguments if arguments.strip() else "{}",
        )
    if kind in ("thinking", "redacted_thinking"):
        return Reasoning(text(block.get("thinking")), provider, raw(block))
    return Opaque(provider, raw(block)) if block else None


def _response(
    document: dict[str, Any], parts: list[Part | None], reason: object, usage: dict[str, Any]
) -> ModelResponse:
    kept = tuple(p for p in parts if p is not None)
    refuse_flood(sum(isinstance(p, ToolCall) for p in kept))
    return ModelResponse(
        Message("assistant", kept),
        read_usage(usage),
        _FINISH.get(text(reason), "other"),
        text(document.get("model")),
        text(document.get("id")),
    )


def read_usage(usage: dict[str, Any]) -> Usage:
    """Read a usage; Anthropic counts cached input apart, we count it in."""
    cached, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    thinking = mapping(usage.get("output_tokens_details"))
    return Usage(
        count(usage.get("input_tokens")) + cached + written,
        count(usage.get("output_tokens")),
        cached,
        written,
        count(thinking.get("thinking_tokens")),
    )


class _Block:
    """A content block that still comes."""

    def __init__(self, document: dict[str, Any], call: int) -> None:
        self.document = document
        self.kind = text(document.get("type"))
        self.call = call
        self._pieces: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}

    def take(self, delta: dict[str, Any]) -> ModelEvent | None:
        event: ModelEvent | None = None
        for key, value in delta.items():
            if key == "type" or value is None:
                continue
            if not isinstance(value, str):
                self._lists.setdefault(f"{key}s", []).append(value)  # a `citation` joins the block's `citations`
                continue
            self._pieces.setdefault(_PIECES.get(key, key), []).append(value)
            if value:
                event = self._told(key, value) or event
        return event

    def _told(self, key: str, value: str) -> ModelEvent | None:
        if key == "text" and self.kind == "text":
            return TextDelta(value)
        if key == "thinking":
            return ReasoningDelta(value)
        if key == "partial_json" and self.kind == "tool_use":
            return ToolCallDelta(self.call, arguments=value)
        return None

    def close(self, provider: str) -> Part | None:
        whole = dict(self.document)
        for key, pieces in self._pieces.items():
            joined = "".join(pieces)
            if key == "input":
                whole[key] = joined if self.kind == "tool_use" else _loaded(provider, joined)
            else:
                whole[key] = text(whole.get(key)) + joined
        for key, values in self._lists.items():
            whole[key] = [*items(whole.get(key)), *values]
        return read_block(provider, whole)


def _loaded(provider: str, piece: str) -> object:
    return parsed(provider, piece.encode()) if piece.strip() else {}


class MessagesDecoder:
    """Reads one streamed answer."""

    def __init__(self, provider: str) -> None:
        """Start before the first byte."""
        self.done = self.begun = False
        self._provider = provider
        self._parser = Parser()
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._reason: object = None
        self._blocks: dict[int, _Block] = {}
        self._calls = 0

    def feed(self, chunk: bytes) -> list[ModelEvent]:
        """Take more bytes; a `Done` is the last event of all."""
        return self._events(self._parser.feed(chunk))

    def finish(self) -> list[ModelEvent]:
        """Take the end of the stream: well where a stop reason came, though message_stop did not."""
        events = self._events(self._parser.finish())
        if self.done:
            return events
        if self._reason is None:
            raise ModelProtocolError(f"{self._provider} cut the stream before the answer was complete.")
        return [*events, self._end()]

    def _end(self) -> Done:
        self.done = True
        parts = [self._blocks[i].close(self._provider) for i in sorted(self._blocks)]
        return Done(_response(self._head, parts, self._reason, self._usage))

    def _events(self, messages: list[tuple[str, bytes]]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for _, data in messages:
            if self.done:
                break
            document = parsed(self._provider, data)
            event = self._event(document)
            if event is not None:
                events.append(event)
            self.begun = True
        return events

    def _event(self, document: dict[str, Any]) -> ModelEvent | None:
        match document.get("type"):
            case "content_block_delta":
                block = self._blocks.get(count(document.get("index")))
                return block.take(mapping(document.get("delta"))) if block else None
            case "content_block_start":
                return self._start(count(document.get("index")), mapping(document.get("content_block")))
            case "message_start":
                self._head = mapping(document.get("message"))
                self._usage.update(mapping(self._head.get("usage")))
            case "message_delta":
                self._reason = mapping(document.get("delta")).get("stop_reason") or self._reason
                self._usage.update({k: v for k, v in mapping(document.get("usage")).items() if v is not None})
            case "message_stop":
                return self._end()
            case "error":
                raise stream_failure(self._provider, document.get("error"))
            case _:  # pings, block ends, and what is yet to be invented
                pass
        return None

    def _start(self, index: int, document: dict[str, Any]) -> ModelEvent | None:
        block = self._blocks[index] = _Block(document, self._calls)
        if block.kind == "tool_use":
            self._calls += 1
            refuse_flood(self._calls)
            return ToolCallDelta(block.call, text(document.get("id")), text(document.get("name")))
        refuse_flood(len(self._blocks) - _MOST_BLOCKS)
        words = text(document.get("text"))
        return TextDelta(words) if words and block.kind == "text" else None


_MOST_BLOCKS = 10_000
