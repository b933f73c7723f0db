"""The floor of the turn benchmark: a bare Starlette pass-through to a model server, by granian."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from granian import Granian
from granian.constants import Interfaces
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncGenerator[None, None]:
    async with aiohttp.ClientSession() as client:
        app.state.client = client
        yield


async def _forward(request: Request) -> Response:
    body = await request.body()
    url = os.environ["FLOOR_UPSTREAM"]  # noqa: TID251 - a script without settings
    async with request.app.state.client.post(url, data=body, headers={"content-type": "application/json"}) as answer:
        return Response(await answer.read(), answer.status, media_type="application/json")


app = Starlette(routes=[Route("/v1/chat/completions", _forward, methods=["POST"])], lifespan=_lifespan)


if __name__ == "__main__":
    port = int(sys.argv[1])
    Granian("bench.floor:app", address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False).serve()
