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
    then        the directive of later user messages that have none, as those that ask for a repair
    finish      the finish reason, in the words of chat completions (stop, length, content_filter)
    usage       [input, output] tokens, or whatever is to stand there; otherwise estimated
    model       the model that the answer says it is from
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
import random
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiohttp import web

from tests.doubles.speech import NAMED, Answer, Chat, Directive, Messages, plan

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
