"""One decision before every endpoint (S43): no route without one, and for each role exactly what the document says.

The walk goes over the routes of the application that serves, hidden ones and
mounts included; the matrix tries every route with every role.
"""

import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx2 import Response
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from agent_factory.api.access import Need, need_of, needs, open_to_all
from agent_factory.api.routing import Guarded, router
from agent_factory.assembly import make_app
from agent_factory.database.models import OrganizationRow, UserRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import MEMBER, PERMISSIONS, ROLES, SELF, expand
from agent_factory.settings import Settings
from tests.serving import Client, client_of, key_for, opened, settings_for

WITHOUT_DECISION: frozenset[str] = frozenset()
"""Routes that need none. There is none."""


@pytest.fixture(scope="module")
async def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FastAPI, None]:
    """Every room, with limits so wide that a matrix of requests meets none."""
    tools = {"workspace": tmp_path_factory.mktemp("files")}
    limits = {"enabled": False}
    async with opened(settings_for(database_url, tools=tools, limits=limits)) as running:
        yield running


def leaves(routes: Sequence[BaseRoute], above: str = "") -> Iterator[tuple[str, BaseRoute]]:
    """Every route, of mounted applications too."""
    for route in routes:
        path = above + getattr(route, "path", "")
        if isinstance(route, Mount):
            yield from leaves(route.routes, path)
            if not route.routes:
                yield path, route
        else:
            yield path, route


ROUTES = list(leaves(make_app(Settings()).routes))


def decided(route: BaseRoute) -> Need | None:
    """The decision that a route makes, if it makes one: only our own class of routes asks."""
    return need_of(route.endpoint) if isinstance(route, Guarded) else None


@pytest.mark.parametrize(
    ("path", "route"),
    [pytest.param(p, r, id=f"{p} {' '.join(sorted(getattr(r, 'methods', None) or ()))}") for p, r in ROUTES],
)
def test_every_route_makes_a_decision(path: str, route: BaseRoute) -> None:
    """S43: neither a mount nor a plain route of the framework slips in."""
    need = decided(route)
    assert need is not None or path in WITHOUT_DECISION
    if need is not None:
        assert need.why_open if need.permission is None else not need.why_open


def test_the_walk_sees_hidden_routes_and_mounts() -> None:
    paths = {path for path, _ in ROUTES}
    assert {"/mcp", "/mcp/agents/{agent_id}", "/health", "/webhook/{path:path}"} <= paths

    async def opaque(scope: Scope, receive: Receive, send: Send) -> None: ...

    inner = Route("/hidden", PlainTextResponse("hello"), include_in_schema=False)
    found = dict(leaves([Mount("/mounted", routes=[inner]), Mount("/opaque", app=opaque)]))
    assert set(found) == {"/mounted/hidden", "/opaque"}
    assert decided(found["/mounted/hidden"]) is None
    assert decided(found["/opaque"]) is None


def test_a_route_that_says_nothing_cannot_be_made() -> None:
    made = router("/api/v1/things", "things")

    async def silent() -> None: ...

    with pytest.raises(TypeError, match="silent"):
        made.get("")(silent)


def test_whatever_a_route_needs_is_a_permission_that_there_is() -> None:
    """A permission that no role can hold would close a route to all but admins, by a slip of the pen."""
    needed = {p for _, route in ROUTES for p in _permissions(route)}
    assert needed <= PERMISSIONS | {MEMBER, SELF}


def test_every_permission_opens_a_route_or_is_checked_further_in() -> None:
    further_in = {"billing:read", "billing:manage", "marketplace:publish", "marketplace:purchase"}
    needed = {p for _, route in ROUTES for p in _permissions(route)}
    assert PERMISSIONS - needed <= further_in


def _permissions(route: BaseRoute) -> tuple[str, ...]:
    need = decided(route)
    return () if need is None else need.permissions


def test_reading_needs_no_right_to_change_and_changing_is_no_mere_membership() -> None:
    asks_only = {"/api/v1/permissions:check", "/api/v1/workflows/execute", "/api/v1/approvals/{approval_id}:decide"}
    for path, route in ROUTES:
        need = decided(route)
        methods = getattr(route, "methods", None) or set[str]()
        if need is not None and need.permission == MEMBER and methods - {"GET", "HEAD"}:
            assert path in asks_only, path


def test_the_document_tells_what_each_operation_needs() -> None:
    document = make_app(Settings()).openapi()
    told = {
        (method.upper(), path): operation.get("x-permission")
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    for _, route in ROUTES:
        if not isinstance(route, APIRoute) or not route.include_in_schema:
            continue
        need = need_of(route.endpoint)
        for method in route.methods or ():
            expected = " or ".join(need.permissions) or None
            assert told[method, route.path_format] == expected, route.path


def _cases() -> list[Any]:
    return [
        pytest.param(method, path, need, id=f"{method} {path}")
        for path, route in ROUTES
        if (need := decided(route)) is not None and need.permission is not None
        for method in sorted(getattr(route, "methods", None) or ())
    ]


People = dict[str, Client]
NARROWED = "admin by a key for something else"


@pytest.fixture(scope="module")
async def people(app: FastAPI, database: Database) -> AsyncGenerator[People, None]:
    """One person for each role, in one organisation, and an admin whose key is for something else."""
    organization_id = uuid7()
    async with database.system() as session:
        session.add(OrganizationRow(id=organization_id, name="Matrix"))
    found: People = {}
    for name in (*ROLES, NARROWED):
        user_id, role = uuid7(), name if name in ROLES else "admin"
        actor = Actor(organization_id=organization_id, user_id=user_id, role=role)
        async with database.system() as session:
            row = UserRow(id=user_id, organization_id=organization_id, email=f"{user_id}@example.com", role=role)
            session.add(row)
        found[name] = client_of(app, await key_for(database, actor))
        found[name].actor = actor
    async with database.system() as session:
        narrow = text("update api_keys set scopes = '{marketplace:purchase}' where user_id = :id")
        await session.execute(narrow, {"id": found[NARROWED].actor.user_id})
    yield found
    for client in found.values():
        await client.aclose()


async def _tried(client: Client, method: str, path: str) -> Response:
    """Ask for something that is not there, with a body that says nothing: whoever comes in learns just that."""
    filled = re.sub(r"\{\w+(:\w+)?\}", "run_00000000000000000000000000", path)
    # nobody waits for the streams of MCP, which are events only
    return await client.request(method, filled, json={}, headers={"Accept": "application/json"})


def _holds(role: str, need: Need) -> bool:
    held = expand(ROLES[role]) | {MEMBER, SELF}
    return any(permission in held for permission in need.permissions)


@pytest.mark.parametrize("role", sorted(ROLES))
@pytest.mark.parametrize(("method", "path", "need"), _cases())
async def test_each_role_comes_in_where_the_document_says_and_nowhere_else(
    people: People, role: str, method: str, path: str, need: Need
) -> None:
    """S47 to S54, abuse 45: 403, or anything but 403."""
    answer = await _tried(people[role], method, path)
    assert (answer.status_code != 403) == _holds(role, need), answer.text
    assert answer.status_code != 401


@pytest.mark.parametrize(("method", "path", "need"), _cases())
async def test_scopes_narrow_whatever_the_owner_may(people: People, method: str, path: str, need: Need) -> None:
    """What is left to a key for something else is what everybody in the organisation may see."""
    answer = await _tried(people[NARROWED], method, path)
    assert (answer.status_code != 403) == (need.permission == MEMBER), answer.text


@pytest.mark.parametrize("body", [b"[]", b'{"name": 1}', b'{"name": "x", "rights": ["y"]}', b""])
async def test_the_decision_comes_before_what_the_body_says(people: People, body: bytes) -> None:
    """Who may not learns nothing of whether the rest was right."""
    headers = {"Content-Type": "application/json"}
    answer = await people["viewer"].post("/api/v1/roles", content=body, headers=headers)
    assert answer.status_code == 403


def test_a_mark_says_what_it_was_given() -> None:
    @needs("agent:run", inside=True, other="workflow:run", audited=False)
    async def marked(_: Request) -> None: ...

    @open_to_all("everybody may")
    async def unlocked(_: Request) -> None: ...

    assert need_of(marked).permissions == ("agent:run", "workflow:run")
    assert need_of(unlocked).permission is None
    assert need_of(unlocked).why_open == "everybody may"
