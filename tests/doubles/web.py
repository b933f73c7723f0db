"""A web server on loopback that behaves well and badly, and remembers what it was asked."""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from aiohttp import web

DUCK = """<html><body>
<div class="result"><h2><a class="result__a" href="//duckduckgo.com/l/?uddg=https%3A%2F%2Fexample.com%2Fa&rut=1">
  The <b>first</b> page</a></h2><a class="result__snippet" href="#">Some <b>words</b> &amp; more.</a></div>
<div class="result"><a class="result__a" href="https://duckduckgo.com/y.js?ad_domain=shop.example">An advertisement</a>
<a class="result__snippet">Buy.</a></div>
<div class="result"><a class="result__a" href="https://example.org/b">Second</a></div>
</body></html>"""

LITE = """<html><body><table>
<tr><td>1.</td><td><a rel="nofollow" href="https://example.net/c" class='result-link'>Third</a></td></tr>
<tr><td></td><td class='result-snippet'>Of the small page.</td></tr></table></body></html>"""


class Asked(msgspec.Struct):
    """One request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str


class Web:
    """A running server; `answers` maps a path to (status, headers, body) instead of what it does by itself."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[Asked] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode("utf-8", "replace")
        self.asked.append(Asked(request.method, request.path_qs, dict(request.query), dict(request.headers), body))
        if request.path in self.answers:
            status, headers, content = self.answers[request.path]
            return web.Response(status=status, headers=headers, body=content)
        match request.path:
            case "/redirect":
                return web.Response(status=302, headers={"Location": request.query.get("to", "/echo")})
            case "/gzip":
                bomb = zlib.compress(b"\0" * 10_000_000)
                return web.Response(body=bomb, headers={"Content-Encoding": "deflate", "Content-Type": "text/plain"})
            case "/endless" | "/drip":
                return await _endless(request, slowly=request.path == "/drip")
            case "/binary":
                return web.Response(body=b"\0\1\2", content_type="application/octet-stream")
            case _:
                return web.json_response(self.seen)

    @property
    def seen(self) -> dict[str, Any]:
        return msgspec.to_builtins(self.asked[-1])


async def _endless(request: web.Request, *, slowly: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    with suppress(ConnectionError):
        while True:
            await response.write(b"x" if slowly else b"x" * 65_536)
            await asyncio.sleep(0.02 if slowly else 0)
    return response


@asynccontextmanager
async def running() -> AsyncGenerator[Web, None]:
    """Serve on a free loopback port."""
    server = Web()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()
