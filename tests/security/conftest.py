"""Servers on loopback that the guarded client may or may not reach."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from aiohttp import web

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
