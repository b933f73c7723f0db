"""A model server for tests and benchmarks: OpenAI chat completions, embeddings and Anthropic messages.

Run `python -m tests.doubles.model_server --port 0`; the first line on stdout is
`{"port": N}`. It listens on 127.0.0.1 only. Base URL for both protocols:
`http://127.0.0.1:N/v1`. Any API key is taken, but `bad-key` gives 401.

What it answers is a directive: a JSON object anywhere in the last user message
(`Please {"say": "hi"}`), else the one that the model's name stands for, else an
echo (`You said: ...`). After tool results an answer without `say` names them
(`Results: a; b`). Fields, all optional:

    say         the words of the answer
    json        a document to answer with, as JSON text
    reasoning   thoughts that come before
    call        [{"name", "arguments" (object or raw text), "id"?}]: tool calls, made once
    loop        true: make the calls again after every result, for ever
    steps       [directive, ...]: one for each answer since the user spoke; the last one stays.
                In a step `say` and `call` come together; elsewhere `say` follows the results
    finish      the finish reason, in the words of chat completions (stop, length, content_filter)
    usage       [input, output] tokens; otherwise estimated
    delay       seconds before the answer begins
    pause       seconds between streamed pieces
    pieces      number of pieces that the words are streamed in; otherwise one a word
    status      answer with this HTTP error; with retry_after (seconds) and error {message, type, code}
    fail        {"key", "times", "status", "retry_after"}: the first `times` calls under `key` fail
    stream_error  after so many pieces comes an error in the stream (a number)
    close       after so many pieces the connection is cut (a number; 0: at once, also unstreamed)
    no_done     true: leave out [DONE] or message_stop
    malformed   true: broken JSON, whole or as a chunk
    garbage     that many random bytes instead of an answer
    endless     true: pieces for ever (unstreamed: a body for ever)
    hang        true: accept, and never answer
    key         count this call under this name (otherwise the Idempotency-Key header)

Model names that stand for a directive: echo, fixed, tool (calls the first tool
offered, once), loop, hang, endless, garbage, malformed, close, stream-error,
overloaded (529), unavailable (503), limited (429 with Retry-After: 1), slow
(1 s), long (answers with finish reason length), context (400, too long).

`GET /calls` gives {"total", "aborted", "open", "by_key": {key: {"calls", "aborted"}}};
`GET /requests?key=K` the last 1,000 request bodies with their headers, oldest
first; `DELETE /calls` forgets both. `aborted` counts answers whose client left.
"""

import argparse
import asyncio
import base64
import collections
import hashlib
import json
import logging
import os
import random
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiohttp import web

Directive = dict[str, Any]

FIELDS = frozenset(
    {
        *("say", "json", "reasoning", "call", "loop", "steps", "finish", "usage", "delay", "pause", "pieces"),
        *("status", "fail", "stream_error", "close", "no_done", "malformed", "garbage", "endless", "hang", "key"),
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
JSON_TYPE = "application/json"


class Ledger:
    """What was asked for, and which clients left before the end."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.total = self.aborted = self.open = 0
        self.by_key: dict[str, dict[str, int]] = {}
        self.requests: collections.deque[dict[str, Any]] = collections.deque(maxlen=1000)

    def enter(self, key: str, entry: dict[str, Any]) -> int:
        """Count a call and give its number under its key."""
        self.total += 1
        self.open += 1
        self.requests.append(entry)
        row = self.by_key.setdefault(key, {"calls": 0, "aborted": 0})
        row["calls"] += 1
        return row["calls"]

    def abort(self, key: str) -> None:
        self.aborted += 1
        self.by_key.setdefault(key, {"calls": 0, "aborted": 0})["aborted"] += 1

    def summary(self) -> dict[str, Any]:
        return {"total": self.total, "aborted": self.aborted, "open": self.open, "by_key": self.by_key}


LEDGER: web.AppKey[Ledger] = web.AppKey("ledger", Ledger)


class CutError(Exception):
    """The connection was cut on purpose."""


class Answer:
    """What to say to one request, before it is put into a protocol's words."""

    def __init__(self, body: dict[str, Any], directive: Directive, results: list[str], said: str) -> None:
        self.model = str(body.get("model", ""))
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
        elif message["role"] == "assistant":
            turns += 1
    model = str(body.get("model", "")).rpartition("/")[2]
    directive: Directive | None = read_directive(said) or NAMED.get(model)
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


async def chat_completions(request: web.Request) -> web.StreamResponse:
    body = orjson.loads(await request.read())
    tools = [(t["function"]["name"], t["function"].get("parameters", {})) for t in body.get("tools") or []]
    return await _answer(request, body, tools, Chat)


async def messages(request: web.Request) -> web.StreamResponse:
    body = orjson.loads(await request.read())
    tools = [(t["name"], t.get("input_schema", {})) for t in body.get("tools") or []]
    return await _answer(request, body, tools, Messages)


async def _answer(
    request: web.Request,
    body: dict[str, Any],
    tools: list[tuple[str, dict[str, Any]]],
    protocol: type[Chat | Messages],
) -> web.StreamResponse:
    directive, results, said = plan(body, tools)
    ledger = request.app[LEDGER]
    key = str(
        directive.get("key") or directive.get("fail", {}).get("key") or request.headers.get("Idempotency-Key", "")
    )
    number = ledger.enter(key, {"key": key, "path": request.path, "headers": dict(request.headers), "body": body})
    speech = protocol(Answer(body, directive, results, said))
    try:
        refused = _refusal(request, directive, speech, number)
        if refused is not None:
            return refused
        return await _deliver(request, directive, speech)
    except CutError:
        return web.Response()  # goes nowhere
    except (ConnectionResetError, asyncio.CancelledError):
        ledger.abort(key)
        raise
    finally:
        ledger.open -= 1


def _refusal(request: web.Request, directive: Directive, speech: Chat | Messages, number: int) -> web.Response | None:
    credentials = request.headers.get("Authorization", "") + request.headers.get("x-api-key", "")
    if credentials.endswith("bad-key"):
        return _refuse(speech, 401, {"message": "Incorrect API key provided: bad-key", "type": "authentication_error"})
    failing = directive.get("fail", {})
    if number <= failing.get("times", 0):
        return _refuse(speech, failing.get("status", 503), {}, failing.get("retry_after"))
    if "status" in directive:
        return _refuse(speech, directive["status"], directive.get("error", {}), directive.get("retry_after"))
    return None


def _refuse(
    speech: Chat | Messages, status: int, error: dict[str, Any], retry_after: float | None = None
) -> web.Response:
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    return web.Response(
        status=status, body=orjson.dumps(speech.error(status, error)), content_type=JSON_TYPE, headers=headers
    )


async def _deliver(request: web.Request, directive: Directive, speech: Chat | Messages) -> web.StreamResponse:
    if directive.get("hang"):
        await asyncio.Event().wait()
    if directive.get("delay"):
        await asyncio.sleep(directive["delay"])
    streams = speech.answer.stream
    kind = "text/event-stream" if streams else JSON_TYPE
    if "garbage" in directive:
        return web.Response(body=random.Random(0).randbytes(directive["garbage"]), content_type=kind)  # noqa: S311 - noise
    if not streams and not directive.get("endless"):
        return _whole(request, directive, speech)
    response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-cache"})
    await response.prepare(request)
    pause = directive.get("pause", 0)
    if pause or directive.get("endless") or "close" in directive:
        async for chunk in _chunks(request, directive, speech):
            await response.write(chunk)
            if pause:
                await asyncio.sleep(pause)
    else:
        await response.write(b"".join([c async for c in _chunks(request, directive, speech)]))
    await response.write_eof()
    return response


def _whole(request: web.Request, directive: Directive, speech: Chat | Messages) -> web.Response:
    if "close" in directive:
        _cut(request)
    if "stream_error" in directive:
        return _refuse(speech, 500, {})
    body = orjson.dumps(speech.whole())
    return web.Response(body=body[: len(body) // 2] if directive.get("malformed") else body, content_type=JSON_TYPE)


def _cut(request: web.Request) -> None:
    transport = request.transport
    if transport is not None:
        transport.abort()
    raise CutError


async def _chunks(request: web.Request, directive: Directive, speech: Chat | Messages) -> AsyncIterator[bytes]:
    if not speech.answer.stream:
        while True:
            yield b" " * 65_536
    for chunk in speech.start():
        yield chunk
    broken, cut = directive.get("stream_error", -1), directive.get("close", -1)
    for index, piece in enumerate([*speech.answer.pieces(), ""]):
        if index == cut:
            await asyncio.sleep(0.01)  # what was written leaves before the connection does
            _cut(request)
        if index == broken:
            yield speech.stream_error()
            return
        if piece:
            yield speech.piece(piece)
    while directive.get("endless"):
        yield speech.piece("and on ")
        await asyncio.sleep(0.001)
    for chunk in _last(directive, speech):
        yield chunk


def _last(directive: Directive, speech: Chat | Messages) -> list[bytes]:
    if directive.get("malformed"):
        return [b'data: {"choices": [{"del\n\n']
    return [*speech.end(), *([] if directive.get("no_done") else [speech.done])]


async def embeddings(request: web.Request) -> web.Response:
    body = orjson.loads(await request.read())
    given = body.get("input", "")
    inputs: list[Any] = given if isinstance(given, list) and not (given and isinstance(given[0], int)) else [given]
    size = body.get("dimensions") or 16
    rows: list[dict[str, Any]] = []
    for index, text in enumerate(inputs):
        vector = embedding(str(text), size)
        packed: Any = vector
        if body.get("encoding_format") == "base64":
            packed = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        rows.append({"object": "embedding", "index": index, "embedding": packed})
    tokens = sum(len(str(t)) // 4 + 1 for t in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    document = {"object": "list", "data": rows, "model": body.get("model"), "usage": usage}
    return web.Response(body=orjson.dumps(document), content_type=JSON_TYPE)


def embedding(text: str, size: int) -> list[float]:
    """Make a unit vector that is the same for the same text."""
    noise = random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311 - the same each time, on purpose
    raw = [noise.uniform(-1, 1) for _ in range(size)]
    length = sum(x * x for x in raw) ** 0.5
    return [x / length for x in raw]


async def models(_: web.Request) -> web.Response:
    names = ["echo", "tool", "loop", *NAMED]
    rows = [{"id": n, "object": "model", "created": 0, "owned_by": "tests"} for n in names]
    return web.json_response({"object": "list", "data": rows})


async def calls(request: web.Request) -> web.Response:
    ledger = request.app[LEDGER]
    if request.method == "DELETE":
        ledger.clear()
    return web.json_response(ledger.summary())


async def requests(request: web.Request) -> web.Response:
    key = request.query.get("key")
    return web.json_response([r for r in request.app[LEDGER].requests if key is None or r["key"] == key])


def application() -> web.Application:
    """Make the server's application, with an empty ledger."""
    app = web.Application(client_max_size=64_000_000)
    app[LEDGER] = Ledger()
    app.router.add_post("/v1/chat/completions", chat_completions)
    app.router.add_post("/v1/messages", messages)
    app.router.add_post("/v1/embeddings", embeddings)
    app.router.add_get("/v1/models", models)
    app.router.add_route("GET", "/calls", calls)
    app.router.add_route("DELETE", "/calls", calls)
    app.router.add_get("/requests", requests)
    return app


async def serve(port: int, *, until_stdin_ends: bool) -> None:
    """Serve on 127.0.0.1 and print the port; ends with stdin where asked to, so that no orphan stays."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # clients that leave are what it is for
    runner = web.AppRunner(application(), handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=1024)
    await site.start()
    sys.stdout.write(json.dumps({"port": runner.addresses[0][1]}) + "\n")
    sys.stdout.flush()
    try:
        if until_stdin_ends:
            await asyncio.to_thread(sys.stdin.buffer.read)
        else:
            await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--until-stdin-ends", action="store_true")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.port, until_stdin_ends=options.until_stdin_ends))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
