"""What the model server says: directives read from a conversation, answers in both protocols' words."""

import json
import os
from typing import Any

import orjson

Directive = dict[str, Any]

FIELDS = frozenset(
    {
        *("say", "json", "reasoning", "call", "loop", "steps", "finish", "usage", "model", "delay", "pause", "pieces"),
        *(
            "status",
            "fail",
            "stream_error",
            "close",
            "no_done",
            "malformed",
            "garbage",
            "endless",
            "hang",
            "key",
            "then",
        ),
    }
)
NAMED: dict[str, Directive] = {
    "fixed": {"say": "Hello from the model server."},
    "hang": {"hang": True},
    "endless": {"endless": True},
    "garbage": {"garbage": 1000},
    "malformed": {"malformed": True},
    "close": {"say": "one two three four", "close": 2},
    "stream-error": {"say": "one two three four", "stream_error": 2},
    "overloaded": {"status": 529, "error": {"message": "Overloaded", "type": "overloaded_error"}},
    "unavailable": {"status": 503},
    "limited": {"status": 429, "retry_after": 1},
    "slow": {"delay": 1.0},
    "long": {"say": "This is cut", "finish": "length"},
    "context": {
        "status": 400,
        "error": {"message": "This model's maximum context length is 10 tokens.", "code": "context_length_exceeded"},
    },
}
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class Answer:
    """What to say to one request, before it is put into a protocol's words."""

    def __init__(self, body: dict[str, Any], directive: Directive, results: list[str], said: str) -> None:
        self.model = str(directive.get("model") or body.get("model", ""))
        self.stream = bool(body.get("stream"))
        self.directive = directive
        self.calls: list[dict[str, Any]] = [_call(c) for c in directive.get("call", [])]
        if "json" in directive:
            self.text = json.dumps(directive["json"])
        elif self.calls:
            self.text = str(directive.get("say with calls", ""))
        elif "say" in directive:
            self.text = str(directive["say"])
        else:
            self.text = f"Results: {'; '.join(results)}" if results else f"You said: {said}"
        self.reasoning = str(directive.get("reasoning", ""))
        self.finish = directive.get("finish") or ("tool_calls" if self.calls else "stop")
        used = directive.get("usage") or [len(said) // 4 + 10, len(self.text) // 4 + 5]
        self.input_tokens, self.output_tokens = used

    def pieces(self) -> list[str]:
        count = self.directive.get("pieces")
        if count:
            size = max(1, -(-len(self.text) // count))
            return [self.text[i : i + size] for i in range(0, len(self.text), size)]
        words = self.text.split(" ")
        return [w if i == 0 else f" {w}" for i, w in enumerate(words)] if self.text else []


def _call(call: dict[str, Any]) -> dict[str, Any]:
    arguments = call.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call.get("id") or f"call_{os.urandom(6).hex()}", "name": call["name"], "arguments": text}


def read_directive(text: str) -> Directive | None:
    """Find the first JSON object in a text that has a field of ours."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            found, _ = decoder.raw_decode(text, at)
        except ValueError:
            found = None
        if isinstance(found, dict) and found.keys() & FIELDS:
            return found
        at = text.find("{", at + 1)
    return None


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts: list[Any] = content if isinstance(content, list) else []
    return "".join(p.get("text", "") for p in parts if p.get("type") == "text")


def plan(body: dict[str, Any], tools: list[tuple[str, dict[str, Any]]]) -> tuple[Directive, list[str], str]:
    """Read a conversation: the directive, the tool results and what the user said last."""
    said, turns, results = "", 0, list[str]()
    then: Directive | None = None
    for message in body.get("messages", []):
        content = message.get("content")
        given = (
            [_text(b.get("content")) for b in content if b.get("type") == "tool_result"]
            if isinstance(content, list)
            else []
        )
        if message["role"] == "tool":
            given = [_text(content)]
        if given:
            results += given
        elif message["role"] == "user":
            said, turns, results = _text(content), 0, []
            then = (read_directive(said) or {}).get("then", then)
        elif message["role"] == "assistant":
            turns += 1
    model = str(body.get("model", "")).rpartition("/")[2]
    directive: Directive | None = read_directive(said) or then or NAMED.get(model)
    if directive is None and model in ("tool", "loop") and tools:
        directive = {"call": [{"name": tools[0][0], "arguments": _arguments(tools[0][1])}], "loop": model == "loop"}
    chosen: Directive = dict(directive or {})
    steps: list[Directive] = chosen.pop("steps", [])
    if steps:
        chosen |= steps[min(turns, len(steps) - 1)]
        if chosen.get("call") and "say" in chosen:
            chosen["say with calls"] = chosen["say"]
    made = turns >= len(steps) if steps else bool(results)
    if made and not chosen.get("loop"):
        chosen.pop("call", None)
    return chosen, results, said


def _arguments(schema: dict[str, Any]) -> dict[str, Any]:
    examples: dict[str, Any] = {
        "string": "2 + 2",
        "integer": 1,
        "number": 1.5,
        "boolean": True,
        "array": [],
        "object": {},
    }
    properties = schema.get("properties", {})
    return {n: examples.get(properties.get(n, {}).get("type"), "x") for n in schema.get("required", [])}


class Chat:
    """Chat completions."""

    done = b"data: [DONE]\n\n"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.id = f"chatcmpl-{os.urandom(8).hex()}"

    def error(self, status: int, error: dict[str, Any]) -> dict[str, Any]:
        return {"error": {"message": f"Error {status}", "type": "server_error", "code": None} | error}

    def usage(self) -> dict[str, int]:
        sent, made = self.answer.input_tokens, self.answer.output_tokens
        return {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}

    def whole(self) -> dict[str, Any]:
        answer = self.answer
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message["tool_calls"] = [self._tool_call(c) for c in answer.calls]
        choice = {"index": 0, "message": message, "finish_reason": answer.finish}
        head = {"id": self.id, "object": "chat.completion", "created": 0, "model": answer.model}
        return head | {"choices": [choice], "usage": self.usage()}

    def _tool_call(self, call: dict[str, Any]) -> dict[str, Any]:
        function = {"name": call["name"], "arguments": call["arguments"]}
        return {"id": call["id"], "type": "function", "function": function}

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        head = {"id": self.id, "object": "chat.completion.chunk", "created": 0, "model": self.answer.model}
        return b"data: " + orjson.dumps(head | {"choices": [choice]}) + b"\n\n"

    def piece(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def start(self) -> list[bytes]:
        out = [self._chunk({"role": "assistant", "content": ""})]
        if self.answer.reasoning:
            out.append(self._chunk({"reasoning_content": self.answer.reasoning}))
        return out

    def end(self) -> list[bytes]:
        out: list[bytes] = []
        for index, call in enumerate(self.answer.calls):
            whole = {"index": index} | self._tool_call(call)
            half = len(call["arguments"]) // 2
            first = whole | {"function": {"name": call["name"], "arguments": call["arguments"][:half]}}
            rest = {"index": index, "function": {"arguments": call["arguments"][half:]}}
            out += [self._chunk({"tool_calls": [first]}), self._chunk({"tool_calls": [rest]})]
        out.append(self._chunk({}, self.answer.finish))
        last = {"id": self.id, "object": "chat.completion.chunk", "created": 0, "model": self.answer.model}
        out.append(b"data: " + orjson.dumps(last | {"choices": [], "usage": self.usage()}) + b"\n\n")
        return out

    def stream_error(self) -> bytes:
        return b"data: " + orjson.dumps(self.error(500, {"message": "broke in the stream"})) + b"\n\n"


class Messages:
    """Anthropic messages."""

    done = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.id = f"msg_{os.urandom(8).hex()}"
        self._index = 0

    def error(self, status: int, error: dict[str, Any]) -> dict[str, Any]:
        return {"type": "error", "error": {"type": "api_error", "message": f"Error {status}"} | error}

    def _head(self, content: list[Any], reason: str | None) -> dict[str, Any]:
        usage = {"input_tokens": self.answer.input_tokens, "output_tokens": self.answer.output_tokens}
        head = {"id": self.id, "type": "message", "role": "assistant", "model": self.answer.model}
        return head | {"content": content, "stop_reason": reason, "stop_sequence": None, "usage": usage}

    def _blocks(self) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        if self.answer.reasoning:
            blocks.append({"type": "thinking", "thinking": self.answer.reasoning, "signature": "c2lnbmVk"})
        if self.answer.text:
            blocks.append({"type": "text", "text": self.answer.text})
        for call in self.answer.calls:
            try:
                arguments = json.loads(call["arguments"])
            except ValueError:
                arguments = {}
            blocks.append({"type": "tool_use", "id": call["id"], "name": call["name"], "input": arguments})
        return blocks

    def whole(self) -> dict[str, Any]:
        return self._head(self._blocks(), STOP_REASONS.get(self.answer.finish, self.answer.finish))

    @staticmethod
    def _event(document: dict[str, Any]) -> bytes:
        return b"event: " + document["type"].encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n"

    def _block(self, block: dict[str, Any], deltas: list[dict[str, Any]]) -> list[bytes]:
        index, self._index = self._index, self._index + 1
        out = [self._event({"type": "content_block_start", "index": index, "content_block": block})]
        out += [self._event({"type": "content_block_delta", "index": index, "delta": d}) for d in deltas]
        return [*out, self._event({"type": "content_block_stop", "index": index})]

    def start(self) -> list[bytes]:
        out = [self._event({"type": "message_start", "message": self._head([], None)}), self._event({"type": "ping"})]
        if self.answer.reasoning:
            thought = {"type": "thinking_delta", "thinking": self.answer.reasoning}
            signed = {"type": "signature_delta", "signature": "c2lnbmVk"}
            out += self._block({"type": "thinking", "thinking": "", "signature": ""}, [thought, signed])
        if self.answer.text:
            block = {"type": "text", "text": ""}
            out.append(self._event({"type": "content_block_start", "index": self._index, "content_block": block}))
        return out

    def piece(self, text: str) -> bytes:
        delta = {"type": "text_delta", "text": text}
        return self._event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def end(self) -> list[bytes]:
        out: list[bytes] = []
        if self.answer.text:
            out.append(self._event({"type": "content_block_stop", "index": self._index}))
            self._index += 1
        for call in self.answer.calls:
            block = {"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}}
            half = len(call["arguments"]) // 2
            halves = (call["arguments"][:half], call["arguments"][half:])
            out += self._block(block, [{"type": "input_json_delta", "partial_json": h} for h in halves])
        reason = STOP_REASONS.get(self.answer.finish, self.answer.finish)
        usage = {"output_tokens": self.answer.output_tokens}
        last = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
        return [*out, self._event(last)]

    def stream_error(self) -> bytes:
        return self._event({"type": "error", "error": {"type": "overloaded_error", "message": "broke in the stream"}})
