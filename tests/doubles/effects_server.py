"""A server that does effects and counts them by idempotency key, as a careful payment provider would.

Run `python -m tests.doubles.effects_server --port 0`; the first line on stdout
is `{"port": N}`. It listens on 127.0.0.1 only. With `--until-stdin-ends` it
ends when its parent does. For all requests: `--latency S` waits up to so many
seconds, `--failures P` fails that share of them, `--seed N` makes both repeat.

Any request to `/effect`, by any method and with any path below it, is one. Its
`Idempotency-Key` header names the effect (without one: its path); the first
request of a key does the effect, later ones get the recorded answer, which is
`{"key", "number", "path", "query", "body"}` with the number of the effect. A
key that comes again with another body is a conflict: 422. Query fields, all
optional:

    delay        seconds before anything happens
    fail         the first so many requests of this key fail, before the effect
    lose         the first so many requests of this key do the effect, but never get an answer
    status       the status of failures (otherwise 503), or of every answer if `fail` is not given
    retry_after  the header of failures, as it is
    size         bytes of padding in the answer

`GET /counts` gives {"effects", "requests", "conflicts", "failed"};
`GET /effects` gives {key: {"requests", "effects", "conflicts"}}, `GET
/effects?key=K` one of them; `GET /order` the keys in the order of their
effects; `DELETE /effects` forgets everything.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import random
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Effect:
    """What came under one key."""

    requests: int = 0
    effects: int = 0
    conflicts: int = 0
    failed: int = 0
    digest: str = ""
    answer: dict[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if isinstance(value, int)}


@dataclass
class Ledger:
    """Every effect that was done, in order."""

    latency: float
    failures: float
    chance: random.Random
    by_key: dict[str, Effect] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)


LEDGER: web.AppKey[Ledger] = web.AppKey("ledger", Ledger)


async def effect(request: web.Request) -> web.StreamResponse:
    ledger = request.app[LEDGER]
    body, query = await request.read(), request.query
    key = request.headers.get("Idempotency-Key", request.path)
    found = ledger.by_key.setdefault(key, Effect())
    found.requests += 1
    number = found.requests
    await asyncio.sleep(float(query.get("delay", 0)) + ledger.latency * ledger.chance.random())
    failing = number <= int(query.get("fail", 0)) or ledger.chance.random() < ledger.failures
    if failing or ("status" in query and "fail" not in query):
        found.failed += 1
        headers = {"Retry-After": query["retry_after"]} if "retry_after" in query else {}
        return web.json_response({"error": "told to fail"}, status=int(query.get("status", 503)), headers=headers)
    digest = hashlib.sha256(f"{request.method} {request.path_qs}\n".encode() + body).hexdigest()
    if found.effects and found.digest != digest:
        found.conflicts += 1
        return web.json_response({"error": "this key had another request"}, status=422)
    if not found.effects:
        found.effects, found.digest = 1, digest
        ledger.order.append(key)
        found.answer = {
            "key": key,
            "number": len(ledger.order),
            "path": request.path,
            "query": dict(query),
            "body": body.decode("utf-8", "replace"),
        }
    if number <= int(query.get("lose", 0)):
        if request.transport is not None:  # a client that was killed has left already
            request.transport.abort()
        return web.Response()  # goes nowhere
    return web.json_response(found.answer | ({"padding": "x" * int(query["size"])} if "size" in query else {}))


async def counts(request: web.Request) -> web.Response:
    found = request.app[LEDGER].by_key.values()
    totals = {name: sum(getattr(e, name) for e in found) for name in ("effects", "requests", "conflicts", "failed")}
    return web.json_response(totals)


async def effects(request: web.Request) -> web.Response:
    ledger = request.app[LEDGER]
    if "key" in request.query:
        return web.json_response(ledger.by_key.get(request.query["key"], Effect()).told())
    return web.json_response({key: found.told() for key, found in ledger.by_key.items()})


async def order(request: web.Request) -> web.Response:
    return web.json_response(request.app[LEDGER].order)


async def forget(request: web.Request) -> web.Response:
    request.app[LEDGER].by_key.clear()
    request.app[LEDGER].order.clear()
    return web.json_response({})


def make_app(latency: float = 0.0, failures: float = 0.0, seed: int = 0) -> web.Application:
    app = web.Application(client_max_size=100_000_000)
    app[LEDGER] = Ledger(latency, failures, random.Random(seed))  # noqa: S311 - repeats, guards nothing
    app.router.add_get("/counts", counts)
    app.router.add_get("/effects", effects)
    app.router.add_delete("/effects", forget)
    app.router.add_get("/order", order)
    app.router.add_route("*", "/effect", effect)
    app.router.add_route("*", "/effect/{rest:.*}", effect)
    return app


async def serve(app: web.Application, port: int, *, until_stdin_ends: bool) -> None:
    """Serve on 127.0.0.1 and print the port; ends with stdin where asked to, so that no orphan stays."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # clients that are killed are what it is for
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
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
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--failures", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--until-stdin-ends", action="store_true")
    options = parser.parse_args()
    app = make_app(options.latency, options.failures, options.seed)
    asyncio.run(serve(app, options.port, until_stdin_ends=options.until_stdin_ends))


if __name__ == "__main__":
    main()
