"""OpenAI responses: the answer side, whole and streamed."""

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
    tagged,
    text,
)
from agent_factory.providers.wire.responses_request import request_body
from agent_factory.providers.wire.sse import Parser

_WORDS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_THOUGHTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
_UNFINISHED = frozenset({"failed", "cancelled", "queued", "in_progress"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class Responses:
    """The wire of OpenAI's responses, and of the servers that speak like it."""

    path = "/responses"

    def __init__(self, provider: str) -> None:
        """Start with an empty cache of encoded tools."""
        self._provider = provider
        self._tools = Encoded()

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Give the bearer header, where there is a key."""
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def encode(self, request: ModelRequest, *, stream: bool) -> bytes:
        """Write the request's body."""
        return orjson.dumps(request_body(request, self._provider, self._tools, stream=stream))

    def decode(self, body: bytes) -> ModelResponse:
        """Read a whole answer; a malformed one is `ModelProtocolError`."""
        return read_response(self._provider, parsed(self._provider, body), [])

    def decoder(self) -> "ResponsesDecoder":
        """Begin to read a streamed answer."""
        return ResponsesDecoder(self._provider)


def read_response(provider: str, document: dict[str, Any], seen: list[Any]) -> ModelResponse:
    """Read a response object; `seen` are its items where it does not repeat them itself."""
    if document.get("error"):
        raise stream_failure(provider, document["error"])
    output = items(document.get("output")) or seen
    status = text(document.get("status"))
    if status in _UNFINISHED or not (output or status):
        raise ModelProtocolError(f"{provider} answered with a response that is {status or 'empty'}.")
    parts: list[Part] = []
    refused = False
    for item in output:
        read, refusal = _read_item(provider, mapping(item))
        parts += read
        refused = refused or refusal
    refuse_flood(sum(isinstance(p, ToolCall) for p in parts))
    return ModelResponse(
        Message("assistant", tuple(parts)),
        read_usage(mapping(document.get("usage"))),
        "content_filter" if refused else _finish(document, parts),
        text(document.get("model")),
        text(document.get("id")),
    )


def _finish(document: dict[str, Any], parts: list[Part]) -> Finish:
    if document.get("status") == "incomplete":
        reason = mapping(document.get("incomplete_details")).get("reason")
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if any(isinstance(p, ToolCall) for p in parts) else "stop"


def _read_item(provider: str, item: dict[str, Any]) -> tuple[list[Part], bool]:
    """Read one item into parts, and tell whether it refuses."""
    match item.get("type"):
        case "message":
            blocks = [mapping(b) for b in items(item.get("content"))]
            words = "".join(text(b.get("text")) + text(b.get("refusal")) for b in blocks)
            return [Text(words)] if words else [], any(b.get("refusal") for b in blocks)
        case "function_call":
            arguments = arguments_text(item.get("arguments"))
            call_id = text(item.get("call_id")) or new_call_id()
            kept = {k: item[k] for k in ("id", "namespace") if item.get(k)}
            opaque = tagged(provider, kept) if kept else None
            return [ToolCall(call_id, text(item.get("name")), arguments if arguments.strip() else "{}", opaque)], False
        case "reasoning":
            told = [*items(item.get("summary")), *items(item.get("content"))]
            kept = {k: v for k, v in item.items() if k != "status"}
            return [Reasoning("\n\n".join(text(mapping(t).get("text")) for t in told), provider, raw(kept))], False
        case _:
            return [Opaque(provider, raw(item))] if item else [], False


def read_usage(usage: dict[str, Any]) -> Usage:
    """Read a usage."""
    sent, made = mapping(usage.get("input_tokens_details")), mapping(usage.get("output_tokens_details"))
    return Usage(
        count(usage.get("input_tokens")),
        count(usage.get("output_tokens")),
        count(sent.get("cached_tokens")),
        count(sent.get("cache_write_tokens")),
        count(made.get("reasoning_tokens")),
    )


class ResponsesDecoder:
    """Reads one streamed answer."""

    def __init__(self, provider: str) -> None:
        """Start before the first byte."""
        self.done = self.begun = False
        self._provider = provider
        self._parser = Parser()
        self._items: dict[int, Any] = {}
        self._calls: dict[int, int] = {}

    def feed(self, chunk: bytes) -> list[ModelEvent]:
        """Take more bytes; a `Done` is the last event of all."""
        return self._events(self._parser.feed(chunk))

    def finish(self) -> list[ModelEvent]:
        """Take the end of the stream; without the response at its end it is cut."""
        events = self._events(self._parser.finish())
        if not self.done:
            raise ModelProtocolError(f"{self._provider} cut the stream before the answer was complete.")
        return events

    def _events(self, messages: list[tuple[str, bytes]]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for _, data in messages:
            if self.done:
                break
            if data != b"[DONE]":
                event = self._event(parsed(self._provider, data))
                if event is not None:
                    events.append(event)
            self.begun = True
        return events

    def _event(self, document: dict[str, Any]) -> ModelEvent | None:
        kind = text(document.get("type"))
        index = count(document.get("output_index"))
        if kind in _WORDS:
            return TextDelta(text(document.get("delta")))
        if kind in _THOUGHTS:
            return ReasoningDelta(text(document.get("delta")))
        if kind in _ENDS:
            return self._end(mapping(document.get("response")))
        if kind == "response.function_call_arguments.delta" and index in self._calls:
            return ToolCallDelta(self._calls[index], arguments=text(document.get("delta")))
        if kind == "response.output_item.added":
            return self._start(index, mapping(document.get("item")))
        if kind == "response.output_item.done":
            self._items[index] = document.get("item")
        elif kind == "error":
            raise stream_failure(self._provider, document.get("error") or document)
        return None

    def _start(self, index: int, item: dict[str, Any]) -> ModelEvent | None:
        if item.get("type") != "function_call":
            return None
        number = self._calls[index] = len(self._calls)
        refuse_flood(len(self._calls))
        return ToolCallDelta(number, text(item.get("call_id")), text(item.get("name")), text(item.get("arguments")))

    def _end(self, document: dict[str, Any]) -> Done:
        self.done = True
        return Done(read_response(self._provider, document, [self._items[i] for i in sorted(self._items)]))
