"""OpenAI chat completions, as OpenAI and the many servers after it speak it."""

from typing import Any, Literal

import msgspec
import orjson

from agent_factory.core.message import Message, Part, Reasoning, Text
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
from agent_factory.providers.wire.chat_messages import Dialect, request_body
from agent_factory.providers.wire.failures import stream_failure
from agent_factory.providers.wire.parts import (
    Encoded,
    PendingCall,
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
from agent_factory.providers.wire.think import ThinkTags

_FINISH: dict[str, Finish] = {
    "stop": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_CALL_FIELDS = frozenset({"id", "index", "type", "function"})

ReasoningField = Literal["reasoning_content", "reasoning"]


class ChatCompletions:
    """The wire of one provider; `dialect` names its peculiarities."""

    path = "/chat/completions"

    def __init__(self, dialect: Dialect) -> None:
        """Start with an empty cache of encoded tools."""
        self._dialect = dialect
        self._tools = Encoded()

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Give the bearer header, where there is a key."""
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def encode(self, request: ModelRequest, *, stream: bool) -> bytes:
        """Write the request's body."""
        return orjson.dumps(request_body(request, self._dialect, self._tools, stream=stream))

    def decode(self, body: bytes) -> ModelResponse:
        """Read a whole answer; a malformed one is `ModelProtocolError`."""
        provider = self._dialect.provider
        document = parsed(provider, body)
        choices = items(document.get("choices"))
        if not choices:
            if document.get("error"):  # some gateways answer 200 with an error in it
                raise stream_failure(provider, document["error"])
            raise ModelProtocolError(f"{provider} answered without a choice.")
        choice = mapping(choices[0])
        if choice.get("error"):
            raise stream_failure(provider, choice["error"])
        message = mapping(choice.get("message"))
        collected = _Collected(provider)
        collected.take(message)
        collected.rest()
        return collected.response(document, choice.get("finish_reason"))

    def decoder(self) -> "ChatDecoder":
        """Begin to read a streamed answer."""
        return ChatDecoder(self._dialect.provider)


class _Collected:
    """The parts of an answer, whole or as far as they have come."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.thought_field: ReasoningField | None = None
        self.details: list[Any] = []
        self.calls: list[PendingCall] = []
        self.refused = False
        self.tagged = ThinkTags()
        self._by_index: dict[int, PendingCall] = {}

    def take(self, delta: dict[str, Any]) -> list[ModelEvent]:
        """Add a message or a delta of one and tell what is new in it."""
        events: list[ModelEvent] = []
        self._think(delta, events)
        content = delta.get("content")
        if content:
            self._content(content, events)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self.refused = True
            self._say(refusal, events)
        calls = delta.get("tool_calls")
        if calls:
            for piece in items(calls):
                self._call(mapping(piece), events)
        return events

    def _say(self, words: str, events: list[ModelEvent]) -> None:
        if words:
            self.texts.append(words)
            events.append(TextDelta(words))

    def _content(self, content: object, events: list[ModelEvent]) -> None:
        if isinstance(content, str):
            self._tell(*self.tagged.split(content), events)
            return
        for item in items(content):
            part = mapping(item)
            if part.get("type") == "thinking":
                inner = part.get("thinking")
                thought = (
                    inner if isinstance(inner, str) else "".join(text(mapping(p).get("text")) for p in items(inner))
                )
                self._thought(thought, events)
            else:
                self._say(item if isinstance(item, str) else text(part.get("text")), events)

    def _tell(self, thought: str, words: str, events: list[ModelEvent]) -> None:
        self._thought(thought, events)
        self._say(words, events)

    def rest(self) -> list[ModelEvent]:
        """Give what was held back until it was clear what it is."""
        events: list[ModelEvent] = []
        self._tell(*self.tagged.finish(), events)
        return events

    def _thought(self, words: str, events: list[ModelEvent]) -> None:
        if words:
            self.thoughts.append(words)
            events.append(ReasoningDelta(words))

    def _think(self, delta: dict[str, Any], events: list[ModelEvent]) -> None:
        for field in ("reasoning_content", "reasoning"):
            thought = delta.get(field)
            if thought and isinstance(thought, str):
                self.thought_field = self.thought_field or field
                if field == self.thought_field:  # some servers send the same words under both names
                    self._thought(thought, events)
        details = delta.get("reasoning_details")
        if details:
            self.details.extend(items(details))

    def _call(self, piece: dict[str, Any], events: list[ModelEvent]) -> None:
        function = mapping(piece.get("function"))
        call_id, name = text(piece.get("id")), text(function.get("name"))
        index = piece.get("index")
        call = self._find(index if isinstance(index, int) else None, call_id, name)
        fresh = call is None
        if call is None:
            call = PendingCall(call_id or new_call_id(), name)
            self.calls.append(call)
            refuse_flood(len(self.calls))
        elif name and not call.name:
            call.name, fresh = name, True
        if isinstance(index, int):
            self._by_index[index] = call
        arguments = arguments_text(function.get("arguments"))
        if arguments:
            call.add(arguments)
        extra = {k: v for k, v in piece.items() if k not in _CALL_FIELDS and v is not None}
        if extra:
            call.opaque = (call.opaque or {}) | extra
        if fresh or arguments:
            position = self.calls.index(call)
            events.append(ToolCallDelta(position, call.id if fresh else "", call.name if fresh else "", arguments))

    def _find(self, index: int | None, call_id: str, name: str) -> PendingCall | None:
        """Find the call that a piece belongs to.

        Servers leave the index out, give every call the index 0, repeat the id
        and name with each piece, or send a fresh id with each; only a new id
        together with a name begins a new call where an old one has the place.
        """
        if index is not None and index in self._by_index:
            found = self._by_index[index]
            return None if name and call_id and call_id != found.id and found.name else found
        if call_id:
            return next((c for c in self.calls if c.id == call_id), None)
        if index is None and not name and self.calls:
            return self.calls[-1]
        return None

    def response(self, document: dict[str, Any], reason: object, usage: Usage | None = None) -> ModelResponse:
        parts: list[Part] = []
        thought = "".join(self.thoughts)
        if thought or self.details:
            parts.append(Reasoning(thought, self.provider, self._opaque()))
        words = "".join(self.texts)
        if words:
            parts.append(Text(words))
        parts += [c.close(self.provider) for c in self.calls]
        finish: Finish = _FINISH.get(text(reason), "other") if reason else "stop"
        if self.calls and finish in ("stop", "other"):
            finish = "tool_calls"
        if self.refused:
            finish = "content_filter"
        return ModelResponse(
            Message("assistant", tuple(parts)),
            usage or read_usage(document),
            finish,
            text(document.get("model")),
            text(document.get("id")),
        )

    def _opaque(self) -> msgspec.Raw | None:
        if self.details:
            return raw({"reasoning_details": merged(self.details)})
        return raw({"field": self.thought_field}) if self.thought_field else None


class ChatDecoder:
    """Reads one streamed answer."""

    def __init__(self, provider: str) -> None:
        """Start before the first byte."""
        self.done = self.begun = False
        self._provider = provider
        self._parser = Parser()
        self._collected = _Collected(provider)
        self._reason: object = None
        self._head: dict[str, Any] = {}
        self._usage: Usage | None = None

    def feed(self, chunk: bytes) -> list[ModelEvent]:
        """Take more bytes; a `Done` is the last event of all."""
        return self._events(self._parser.feed(chunk))

    def finish(self) -> list[ModelEvent]:
        """Take the end of the stream: well where a finish reason came, though [DONE] did not."""
        events = self._events(self._parser.finish())
        if self.done:
            return events
        if self._reason is None:
            raise ModelProtocolError(f"{self._provider} cut the stream before the answer was complete.")
        return events + self._end()

    def _end(self) -> list[ModelEvent]:
        self.done = True
        rest = self._collected.rest()
        return [*rest, Done(self._collected.response(self._head, self._reason, self._usage))]

    def _events(self, messages: list[tuple[str, bytes]]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for _, data in messages:
            if self.done:
                break
            if data == b"[DONE]":
                events += self._end()
            else:
                events += self._chunk(data)
            self.begun = True
        return events

    def _chunk(self, data: bytes) -> list[ModelEvent]:
        document = parsed(self._provider, data)
        if document.get("error"):
            raise stream_failure(self._provider, document["error"])
        if not self._head and document.get("id"):
            self._head = {"id": document["id"], "model": document.get("model")}
        if document.get("usage") or document.get("x_groq"):
            used = read_usage(document)
            if used != Usage():
                self._usage = used
        choices = items(document.get("choices"))
        if not choices:
            return []
        choice = mapping(choices[0])
        if choice.get("index"):  # only the first of several answers is ours
            return []
        if choice.get("finish_reason") is not None:
            self._reason = choice["finish_reason"]
        if choice.get("error"):
            raise stream_failure(self._provider, choice["error"])
        delta = choice.get("delta") or choice.get("message")
        return self._collected.take(mapping(delta)) if delta else []


def merged(details: list[Any]) -> list[Any]:
    """Join the pieces of streamed reasoning details that carry the same index and type."""
    out: list[Any] = []
    for detail in details:
        piece = mapping(detail)
        last = mapping(out[-1]) if out else {}
        if not out or piece.get("index") is None or _place(last) != _place(piece):
            out.append(dict(piece))
            continue
        for key, value in piece.items():
            if key in ("text", "summary", "data") and isinstance(value, str):
                last[key] = text(last.get(key)) + value
            elif value is not None:
                last[key] = value
    return out


def _place(detail: dict[str, Any]) -> tuple[object, object]:
    return detail.get("index"), detail.get("type")


def read_usage(document: dict[str, Any]) -> Usage:
    """Read the usage of an answer or a chunk, wherever its server puts it."""
    usage = mapping(document.get("usage")) or mapping(mapping(document.get("x_groq")).get("usage"))
    if not usage:
        return Usage()
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    sent, made = mapping(usage.get("prompt_tokens_details")), mapping(usage.get("completion_tokens_details"))
    reasoning = count(made.get("reasoning_tokens")) or count(usage.get("reasoning_tokens"))
    if reasoning and count(usage.get("total_tokens")) == prompt + completion + reasoning:
        completion += reasoning  # some servers count thoughts apart from the completion
    return Usage(
        prompt,
        completion,
        count(sent.get("cached_tokens")) or count(usage.get("prompt_cache_hit_tokens")),
        count(sent.get("cache_write_tokens")),
        reasoning,
    )
