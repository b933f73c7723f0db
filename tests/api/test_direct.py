"""The short way reads what the framework's own way reads, and refuses what that refuses."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from httpx2 import ASGITransport, AsyncClient

from agent_factory.api.access import open_to_all
from agent_factory.api.direct import Direct, direct
from agent_factory.api.middleware import BodyGuard, Entrance
from agent_factory.api.problems import on_problem, on_validation
from agent_factory.api.routing import router
from agent_factory.api.schemas import Input
from agent_factory.api.settings import ServerSettings
from agent_factory.kit.errors import Problem
from agent_factory.monitoring.metrics import Metrics


class Asked(Input):
    """A body of several kinds of fields."""

    name: str
    count: int = 1
    tags: tuple[str, ...] = ()


Wait = Annotated[float, Query(ge=0, le=300)]


async def echo(request: Request, thing: int, body: Asked, wait: Wait = 60, dry: bool = False) -> Response:
    """Tell what was read."""
    del request
    return Response(f"{thing} {body!r} {wait} {dry}")


@pytest.fixture(scope="module")
async def client() -> AsyncGenerator[AsyncClient, None]:
    short, long = router("/short", "short"), router("/long", "long")

    @short.post("/{thing}", response_model=None)
    @open_to_all("a test")
    @direct
    async def one(request: Request, thing: int, body: Asked, wait: Wait = 60, dry: bool = False) -> Response:
        return await echo(request, thing, body, wait, dry)

    @long.post("/{thing}", response_model=None)
    @open_to_all("a test")
    async def other(request: Request, thing: int, body: Asked, wait: Wait = 60, dry: bool = False) -> Response:
        return await echo(request, thing, body, wait, dry)

    app = FastAPI(exception_handlers={Problem: on_problem, RequestValidationError: on_validation})
    app.router.routes.extend([*short.routes, *long.routes])
    app.add_middleware(Direct, routes=app.router.routes)
    app.add_middleware(BodyGuard, max_body=100_000)
    app.add_middleware(Entrance, settings=ServerSettings(), metrics=Metrics(), log_requests=False)
    app.state.limiter = None
    async with AsyncClient(transport=ASGITransport(app), base_url="http://127.0.0.1") as made:
        yield made


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a whole request": ("7?wait=2.5&dry=true", {"json": {"name": "a", "count": 2, "tags": ["x"]}}),
    "defaults": ("7", {"json": {"name": "a"}}),
    "no body": ("7", {}),
    "a body of another kind": ("7", {"json": [1, 2]}),
    "a null body": ("7", {"json": None}),
    "a missing field": ("7", {"json": {"count": 2}}),
    "an unknown field": ("7", {"json": {"name": "a", "id": "x"}}),
    "a field of another kind": ("7", {"json": {"name": 5, "tags": {"a": 1}}}),
    "a parameter of the path of another kind": ("seven", {"json": {"name": "a"}}),
    "parameters of the query beyond their bounds": ("7?wait=-1&dry=perhaps", {"json": {"name": "a"}}),
    "a parameter given twice": ("7?wait=1&wait=2", {"json": {"name": "a"}}),
    "an empty parameter": ("7?wait=", {"json": {"name": "a"}}),
    "faults everywhere": ("seven?wait=x", {"json": {"count": "many"}}),
    "broken JSON": ("7", {"content": b"{", "headers": {"content-type": "application/json"}}),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_ways_answer_alike(client: AsyncClient, name: str) -> None:
    path, sent = REQUESTS[name]
    answers = [await client.post(f"/{way}/{path}", **sent) for way in ("short", "long")]
    short, long = ((a.status_code, a.text.replace("/long/", "/short/")) for a in answers)
    assert [s for s in short[1].split(",") if "request_id" not in s] == [
        s for s in long[1].split(",") if "request_id" not in s
    ]
    assert short[0] == long[0]


async def test_another_method_is_refused_as_ever(client: AsyncClient) -> None:
    assert (await client.get("/short/7")).status_code == 405


def test_an_endpoint_that_asks_for_more_cannot_be_called_directly() -> None:
    made = router("/more", "more")

    @open_to_all("a test")
    @direct
    async def more(request: Request, agent: Annotated[str, Header()], page: int) -> Response:
        return Response(f"{request} {agent} {page}")

    with pytest.raises(TypeError, match="cannot ask for agent, page"):
        made.post("", response_model=None)(more)
