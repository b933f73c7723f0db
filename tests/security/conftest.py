"""Servers on loopback that the guarded client may or may not reach; a Redis; processes that ask their limiters."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.security.rate_limit import LimitsSettings
from tests.doubles.redis_server import RedisServer
from tests.security.limits import Crowd, Meanwhile

ROOT = Path(__file__).resolve().parents[2]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """A loopback server that keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self.handler: Handler | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        return await self.handler(request) if self.handler else web.Response(text="reached")


@pytest.fixture
async def serve() -> AsyncGenerator[Callable[[Handler | None], Awaitable[Server]], None]:
    """Start a server with one handler for every path; without one it answers "reached"."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler | None = None) -> Server:
        server = Server()
        server.handler = handler
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.handle)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        return server

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncGenerator[RedisServer, None]:
    """A running Redis."""
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def crowd(fresh_database_url: str) -> Crowd:
    """Let two processes ask many times at once, and give how often each was let in."""

    async def run(
        hits: int, rounds: int, redis: str | None, limits: LimitsSettings, meanwhile: Meanwhile | None = None
    ) -> list[int]:
        told = {
            "database": fresh_database_url,
            "redis": redis,
            "user": str(uuid7()),
            "hits": hits,
            "rounds": rounds,
            "limits": limits.model_dump(),
        }
        made = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.security.limited",
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        for process in made:
            assert process.stdin is not None
            process.stdin.write(json.dumps(told).encode() + b"\n")
        for process in made:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        for process in made:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        happening = asyncio.ensure_future(meanwhile()) if meanwhile else None
        admitted = [int((await process.communicate())[0].splitlines()[-1]) for process in made]
        if happening:
            await happening
        return admitted

    return run


@pytest.fixture
async def fresh(fresh_database_url: str) -> AsyncGenerator[Database, None]:
    """A database in which no limit was ever used."""
    made = Database(fresh_database_url)
    yield made
    await made.close()
