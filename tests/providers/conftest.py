"""Servers and ports for tests of providers."""

import socket
from collections.abc import AsyncGenerator, Generator

import pytest
from aiohttp import web


@pytest.fixture
def unused_port() -> Generator[int, None, None]:
    """A port at which nobody listens, kept so for the test."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
async def serve_json() -> AsyncGenerator[str, None]:
    """The base URL of a server that answers in one piece, whatever it is asked."""

    async def handle(_: web.Request) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()
