"""An issuer of tokens in a process of its own, at the wire: it answers what it was told, and remembers what was asked.

`PUT` to a path says what `GET` answers there from then on, with the status of the header `X-Status`, 200 if absent.
`GET /asked` gives the paths that were asked for. The first line is `{"port": …}`; it ends when its standard input does.
"""

import asyncio
import json
import sys
import threading

from aiohttp import web


class _Answers:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: dict[str, tuple[int, dict[str, str], bytes]] = {}

    async def tell(self, request: web.Request) -> web.Response:
        headers = {"Location": request.headers["X-Location"]} if "X-Location" in request.headers else {}
        self.told[request.path] = (int(request.headers.get("X-Status", "200")), headers, await request.read())
        return web.Response(status=204)

    async def ask(self, request: web.Request) -> web.Response:
        if request.path == "/asked":
            return web.json_response(self.asked)
        self.asked.append(request.path)
        status, headers, body = self.told.get(request.path, (404, {}, b""))
        return web.Response(status=status, headers=headers, body=body, content_type="application/json")


async def _serve() -> None:
    answers = _Answers()
    app = web.Application(client_max_size=4_000_000)
    app.router.add_route("PUT", "/{path:.*}", answers.tell)
    app.router.add_route("GET", "/{path:.*}", answers.ask)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(json.dumps({"port": runner.addresses[0][1]}) + "\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True).start()
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
