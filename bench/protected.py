"""What protection costs a request: CPU µs of the whole process tree, PostgreSQL's included, beside a bare route.

    python -m bench.protected                 about a minute
    python -m bench.protected --count 2000 --rounds 1

Every request goes through the whole application in this process (entrance,
body guard, router, endpoint), but through no server and no socket, so that
nothing hides what is added: each row does what the one above it does and one
thing more. The caller is known already, as it is for 5 seconds after a look at
the database; the row "another caller each" shows the limits without that luck:
thousands of callers, each with its own counters. Changes are rows of their own,
for only they are audited. Of all rounds the least counts, for whatever else
runs on the machine only adds.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.types import Message

from agent_factory.api.access import decide, need_of, needs, open_to_all
from agent_factory.api.dependencies import Writer, authenticate
from agent_factory.api.routing import router
from agent_factory.assembly import make_app
from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.database.session import Database
from agent_factory.security.rate_limit import Limiter
from agent_factory.services.organizations.service import bootstrap
from agent_factory.settings import Settings
from bench.processes import cpu_seconds

PLENTY = "6000000/minute, 100000000/hour"
LIMITS: dict[str, Any] = {
    "address": PLENTY,
    "user": PLENTY,
    "key": PLENTY,
    "endpoint": "6000000/minute",
    "endpoints": {},
    "processes": 1,
}
ANSWER = b'{"status":"ok"}'

routes = router("/bench", "bench")


@routes.get("/bare")
@open_to_all("a route with nothing before it", limited=False)
async def bare() -> Response:
    """Answer."""
    return Response(ANSWER)


@routes.get("/authenticated")
@open_to_all("authenticates by itself", limited=False)
async def authenticated(request: Request) -> Response:
    """Answer whoever is known."""
    await authenticate(request.scope)
    return Response(ANSWER)


@routes.get("/decided")
@open_to_all("authenticates and decides by itself", limited=False)
async def decided(request: Request) -> Response:
    """Answer whoever may."""
    decide(await authenticate(request.scope), need_of(protected), None)
    return Response(ANSWER)


@routes.get("/protected")
@needs("agent:read")
async def protected() -> Response:
    """Answer whoever may and has not asked too often: what every route does."""
    return Response(ANSWER)


@routes.put("/change")
@needs("agent:edit", audited=False)
async def change(session: Writer) -> Response:
    """Open a transaction, as every change does."""
    assert session is not None
    return Response(ANSWER)


@routes.put("/audited-change")
@needs("agent:edit")
async def audited_change(session: Writer) -> Response:
    """Have the change recorded in its transaction."""
    assert session is not None
    return Response(ANSWER)


class Caller:
    """Calls the application as a server does."""

    def __init__(self, app: FastAPI, key: str) -> None:
        """Prepare what every request has."""
        self._app = app
        self._headers = [
            (b"host", b"localhost"),
            (b"authorization", f"Bearer {key}".encode()),
            (b"accept", b"*/*"),
            (b"user-agent", b"bench"),
        ]

    async def __call__(self, method: str, path: str, address: str = "127.0.0.1") -> None:
        """Send a request that has to be answered 200."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": self._headers,
            "client": (address, 5000),
            "server": ("127.0.0.1", 8080),
            "state": {},
        }
        statuses: list[int] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self._app(scope, receive, send)
        if statuses != [200]:
            raise RuntimeError(f"{method} {path}: {statuses}")


@asynccontextmanager
async def opened(url: str, *, limited: bool) -> AsyncGenerator[FastAPI, None]:
    """Run an application with the routes of this benchmark before its own."""
    settings = Settings.model_validate(
        {
            "database": {"url": url},
            "limits": {**LIMITS, "enabled": limited},
            "logging": {"level": "warning", "requests": False},
            "queue": {"worker": False},
            "scheduler": {"enabled": False},
        }
    )
    app = make_app(settings)
    app.router.routes[:0] = routes.routes
    async with app.router.lifespan_context(app):
        yield app


def others() -> Iterator[str]:
    """Give an address that nobody had before, again and again."""
    return (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in count(1))


Send = Callable[[], Awaitable[None]]


async def measure(send: Send, requests: int, concurrency: int) -> float:
    """Send requests and give the CPU µs of each."""
    left = requests

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await send()

    me = [os.getpid()]
    before = cpu_seconds(me)
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return (cpu_seconds(me) - before) / requests * 1e6


async def main() -> None:
    """Measure all rows, in turns, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="requests a row and round; a tenth for changes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=16)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="af-bench-") as folder:
        server = Server(Path(folder) / "postgres")
        url = await server.start()
        try:
            await migrate(url)
            database = Database(url)
            founded = await bootstrap(database)
            await database.close()
            assert founded is not None
            async with opened(url, limited=True) as app, opened(url, limited=False) as unlimited:
                await report(args, Caller(app, founded.secret), Caller(unlimited, founded.secret), app.state.limiter)
        finally:
            await server.stop()


async def report(args: argparse.Namespace, limited: Caller, unlimited: Caller, limiter: Limiter) -> None:
    """Measure and print."""
    addresses = others()
    rows: list[tuple[str, Send, int]] = [
        ("bare route", lambda: limited("GET", "/bench/bare"), 1),
        ("+ authentication", lambda: limited("GET", "/bench/authenticated"), 1),
        ("+ decision", lambda: limited("GET", "/bench/decided"), 1),
        ("the same, by its route", lambda: unlimited("GET", "/bench/protected"), 1),
        ("+ limits: address, user, key, endpoint", lambda: limited("GET", "/bench/protected"), 1),
        ("the same, another address each", lambda: limited("GET", "/bench/protected", next(addresses)), 1),
        ("a change: one transaction", lambda: unlimited("PUT", "/bench/change"), 10),
        ("+ limits", lambda: limited("PUT", "/bench/change"), 10),
        ("+ audit", lambda: limited("PUT", "/bench/audited-change"), 10),
    ]
    found: list[list[float]] = [[] for _ in rows]
    for _, send, _part in rows:
        await send()
    for _ in range(args.rounds):
        for index, (_, send, part) in enumerate(rows):
            found[index].append(await measure(send, args.count // part, args.concurrency))
            limiter.forget()
    print(f"{args.count} requests a row and round, {args.concurrency} at a time, the least of {args.rounds} rounds\n")
    print(f"{'':42}{'CPU µs a request':>18}{'beside bare':>14}")
    bare_cost = min(found[0])
    for (name, _, _), costs in zip(rows, found, strict=True):
        cost = min(costs)
        print(f"{name:42}{cost:>18.1f}{cost - bare_cost:>+14.1f}")


if __name__ == "__main__":
    asyncio.run(main())
