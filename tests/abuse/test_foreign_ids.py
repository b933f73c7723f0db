"""Another organisation's ids wherever a request can hold one: among one's own parents, and in every field of a body.

Which paths and fields there are comes from the document; a field that names
something and that no case below knows fails.
"""

import itertools
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport

from agent_factory.database.models import UserRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import encode, uuid7
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.queue.settings import QueueSettings
from tests.serving import Client, opened, settings_for
from tests.test_tenancy import (
    MAKERS,
    OBJECTS,
    OPERATIONS,
    SHARED,
    _body,
    _query,
    _rows,
    _whole,
)

Make = Callable[[Client], Awaitable[str]]


@pytest.fixture(scope="module")
async def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FastAPI, None]:
    """Every room and a worker, for an approval is asked for by a run that is worked on."""
    tools = {"workspace": tmp_path_factory.mktemp("files")}
    async with opened(settings_for(database_url, tools=tools, queue=QueueSettings())) as running:
        yield running


def _names(path: str) -> list[str]:
    return [name for name in re.findall(r"\{(\w+)\}", _whole(path)) if name not in SHARED]


def _mixed() -> list[Any]:
    """Each operation on a thing within another, with each choice of which of them is another's."""
    cases: list[Any] = []
    for method, path, operation in OBJECTS:
        names = _names(path)
        for theirs in itertools.product((False, True), repeat=len(names)):
            if len(names) > 1 and any(theirs):
                whose = " ".join(name for name, foreign in zip(names, theirs, strict=True) if foreign)
                cases.append(pytest.param(method, path, operation, theirs, id=f"{method} {path} {whose}"))
    return cases


@pytest.mark.parametrize(("method", "path", "operation", "theirs"), _mixed())
async def test_another_organisations_object_is_not_there_below_ones_own_nor_ones_own_below_anothers(
    app: FastAPI,
    database: Database,
    client: Client,
    stranger: Client,
    method: str,
    path: str,
    operation: dict[str, Any],
    theirs: tuple[bool, ...],
) -> None:
    """Abuse 34."""
    filled = _whole(path)
    for name, foreign in zip(_names(path), theirs, strict=True):
        filled = filled.replace(f"{{{name}}}", await MAKERS[name](stranger if foreign else client))
    before = [await _rows(database, each.actor) for each in (client, stranger)]
    answer = await client.request(method, filled, json=_body(operation, app), params=_query(operation))
    assert answer.status_code == 404, answer.text
    assert [await _rows(database, each.actor) for each in (client, stranger)] == before


# ---------------------------------------------------------------- bodies


async def _agent_name(client: Client) -> str:
    return (await client.get(f"/api/v1/agents/{await MAKERS['agent_id'](client)}")).json()["name"]


async def _workflow_name(client: Client) -> str:
    return (await client.get(f"/api/v1/workflows/{await MAKERS['workflow_id'](client)}")).json()["name"]


def _tool(use: str, **config: Any) -> dict[str, Any]:
    return {"name": f"boss-{uuid7().hex[-8:]}", "model": "demo", "tools": [{"use": use, "config": config}]}


def _flow(**task: Any) -> dict[str, Any]:
    return {"name": f"flow-{uuid7().hex[-8:]}", "tasks": [{"id": "step", **task}]}


def _nested(kind: str, **config: Any) -> dict[str, Any]:
    """A task within a branch within a loop."""
    inner = {"id": "inner", "type": kind, "config": config}
    loop = {"max_iterations": 1, "tasks": [inner]}
    return {"name": f"flow-{uuid7().hex[-8:]}", "tasks": [{"id": "outer", "type": "loop", "config": loop}]}


AGENTS: list[Make] = [MAKERS["agent_id"], _agent_name]
WORKFLOWS: list[Make] = [MAKERS["workflow_id"], _workflow_name]
Body = Callable[[str, Client], Awaitable[Any]]


def _plain(body: Callable[[str], Any]) -> Body:
    async def made(value: str, _client: Client) -> Any:
        return body(value)

    return made


async def _granted_to(value: str, client: Client) -> Any:
    field = "team_id" if value.startswith("team") else "user_id"
    return {field: value, "agent_id": await MAKERS["agent_id"](client), "rights": ["agent:read"]}


async def _granted_of(value: str, client: Client) -> Any:
    field = "agent_id" if value.startswith("agt") else "workflow_id"
    right = "agent:read" if value.startswith("agt") else "workflow:read"
    return {"user_id": await MAKERS["user_id"](client), field: value, "rights": [right]}


async def _service(client: Client) -> str:
    body = {"name": "worker", "kind": "service", "scopes": ["agent:read"]}
    answer = await client.post("/api/v1/api-keys", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["user_id"]


async def _colleague(client: Client) -> str:
    """Make one more member, and give the id."""
    assert isinstance(client._transport, ASGITransport)
    platform: Platform = client._transport.app.state.platform  # pyright: ignore[reportFunctionMemberAccess] - our own
    user_id = uuid7()
    async with platform.database.system() as session:
        row = UserRow(organization_id=client.actor.organization_id, email=f"{user_id}@example.com", role="viewer")
        row.id = user_id
        session.add(row)
    return encode("usr", user_id)


def _answered(field: str) -> Body:
    """A response that goes on from something, by an agent of one's own."""

    async def made(value: str, client: Client) -> Any:
        return {"model": f"agent:{await _agent_name(client)}", "input": "x", field: value}

    return made


RUN = "/api/v1/workflows/execute?wait=20"
CASES: dict[str, tuple[str, str, list[Make], Body]] = {
    "the agent of a conversation": ("POST", "/api/v1/sessions", AGENTS, _plain(lambda v: {"agent": v})),
    "the agent of a run": ("POST", "/api/v1/runs", AGENTS, _plain(lambda v: {"agent": v, "input": "x"})),
    "the workflow of a trigger": (
        "POST",
        "/api/v1/triggers",
        WORKFLOWS,
        _plain(lambda v: {"workflow": v, "type": "cron", "config": {"cron": "0 8 * * 1"}}),
    ),
    "the workflow of a run": ("POST", RUN, WORKFLOWS[:1], _plain(lambda v: {"workflow_id": v, "input": {}})),
    "the agent of a budget": (
        "POST",
        "/api/v1/budgets",
        AGENTS[:1],
        _plain(lambda v: {"agent_id": v, "metric": "usd", "period": "day", "amount": "1"}),
    ),
    "the key of a budget": (
        "POST",
        "/api/v1/budgets",
        [MAKERS["key_id"]],
        _plain(lambda v: {"key_id": v, "metric": "usd", "period": "day", "amount": "1"}),
    ),
    "who gets a grant": ("POST", "/api/v1/grants", [MAKERS["user_id"], MAKERS["team_id"]], _granted_to),
    "what is granted": ("POST", "/api/v1/grants", [MAKERS["agent_id"], MAKERS["workflow_id"]], _granted_of),
    "whose key": (
        "POST",
        "/api/v1/api-keys",
        [_service],
        _plain(lambda v: {"name": "x", "kind": "service", "user_id": v, "scopes": ["agent:read"]}),
    ),
    "who is asked about": (
        "POST",
        "/api/v1/permissions:check",
        [MAKERS["user_id"]],
        _plain(lambda v: {"user_id": v, "resource": "agent", "action": "run"}),
    ),
    "what is asked about": (
        "POST",
        "/api/v1/permissions:check",
        [MAKERS["agent_id"], MAKERS["workflow_id"]],
        _plain(lambda v: {"resource": v, "action": "run"}),
    ),
    "the role of an invitation": (
        "POST",
        "/api/v1/organizations/{own}/invitations",
        [MAKERS["role_name"]],
        _plain(lambda v: {"email": f"{uuid7().hex}@example.com", "role": v}),
    ),
    "the role of a member": (
        "PATCH",
        "/api/v1/organizations/{own}/members/{other}",
        [MAKERS["role_name"]],
        _plain(lambda v: {"role": v}),
    ),
    "the role in a team": (
        "PUT",
        "/api/v1/organizations/{own}/teams/{team}/members/{me}",
        [MAKERS["role_name"]],
        _plain(lambda v: {"role": v}),
    ),
    "an agent below an agent": ("POST", "/api/v1/agents", [_agent_name], _plain(lambda v: _tool("agent", agent=v))),
    "an agent below a checked agent": (
        "POST",
        "/api/v1/agents:validate",
        [_agent_name],
        _plain(lambda v: _tool("agent", agent=v)),
    ),
    "an agent below a new version": (
        "PUT",
        "/api/v1/agents/{agent}",
        [_agent_name],
        _plain(lambda v: _tool("agent", agent=v)),
    ),
    "an agent below a workflow": (
        "POST",
        "/api/v1/workflows",
        AGENTS,
        _plain(lambda v: _flow(type="agent", config={"agent": v, "message": "x"})),
    ),
    "an agent deep in a workflow": (
        "POST",
        "/api/v1/workflows",
        AGENTS,
        _plain(lambda v: _nested("agent", agent=v, message="x")),
    ),
    "a workflow below a workflow": (
        "POST",
        "/api/v1/workflows",
        WORKFLOWS,
        _plain(lambda v: _flow(type="subworkflow", config={"workflow": v})),
    ),
    "an agent below a sent workflow": (
        "POST",
        RUN,
        AGENTS,
        _plain(lambda v: {"workflow": _flow(type="agent", config={"agent": v, "message": "x"})}),
    ),
    "a workflow below a sent workflow": (
        "POST",
        RUN,
        WORKFLOWS,
        _plain(lambda v: {"workflow": _flow(type="subworkflow", config={"workflow": v})}),
    ),
    "an agent as a model": (
        "POST",
        "/v1/chat/completions",
        AGENTS,
        _plain(lambda v: {"model": f"agent:{v}", "messages": [{"role": "user", "content": "x"}]}),
    ),
    "an agent as a model of responses": (
        "POST",
        "/v1/responses",
        AGENTS,
        _plain(lambda v: {"model": f"agent:{v}", "input": "x"}),
    ),
    "the conversation of a response": (
        "POST",
        "/v1/responses",
        [MAKERS["session_id"]],
        _answered("conversation"),
    ),
    "the response before": (
        "POST",
        "/v1/responses",
        [MAKERS["response_id"]],
        _answered("previous_response_id"),
    ),
    "where a login acts": (
        "POST",
        "/api/v1/auth/login",
        [MAKERS["organization_id"]],
        _plain(lambda v: {"email": "nobody@example.com", "password": "wrong-password-1", "organization_id": v}),
    ),
    "where a refresh acts": (
        "POST",
        "/api/v1/auth/refresh",
        [MAKERS["organization_id"]],
        _plain(lambda v: {"refresh_token": "x", "organization_id": v}),
    ),
}
"""Each field that names something of an organisation's own: by which request, by which names, in which body."""


def _cases() -> list[Any]:
    return [
        pytest.param(method, path, make, body, id=f"{name} by {make.__name__[1:]}")
        for name, (method, path, makes, body) in CASES.items()
        for make in makes
    ]


@pytest.mark.parametrize(("method", "path", "make", "body"), _cases())
async def test_another_organisations_object_in_a_body_is_not_found_and_nothing_happens(
    database: Database, client: Client, stranger: Client, method: str, path: str, make: Make, body: Body
) -> None:
    """Abuse 35: 404, or 422 with its place; the same as for what never was."""
    path = await _in_own(path, client)
    given = await make(stranger)
    absent = encode(given.partition("_")[0], uuid7()) if _ID.fullmatch(given) else "never-was"
    document, nothing = await body(given, client), await body(absent, client)
    before = [_but_records(await _rows(database, each.actor)) for each in (client, stranger)]
    answer = await client.request(method, path, json=document)
    assert answer.status_code in (400, 401, 404, 422), answer.text
    assert [_but_records(await _rows(database, each.actor)) for each in (client, stranger)] == before
    never = await client.request(method, path, json=nothing)
    told, same = _told(answer, given), _told(never, absent)
    assert told == same


async def _in_own(path: str, client: Client) -> str:
    """Fill a path with one's own."""
    known = {"{own}": "organization_id", "{me}": "user_id", "{team}": "team_id", "{agent}": "agent_id"}
    for name, maker in known.items():
        if name in path:
            path = path.replace(name, await MAKERS[maker](client))
    return path.replace("{other}", await _colleague(client)) if "{other}" in path else path


def _but_records(rows: dict[str, Any]) -> dict[str, Any]:
    """A run that failed is a record of what was tried."""
    return {
        table: found
        for table, found in rows.items()
        if table not in ("runs", "run_steps", "run_snapshots", "meters", "usage_days")
    }


def _told(answer: Any, name: str) -> tuple[int, str]:
    """What an answer tells, but for what was asked and when."""
    text = answer.text.replace(name, "…")
    text = re.sub(r'"(request_id|instance)": ?"[^"]*"', "", text)
    return answer.status_code, re.sub(r"(boss|flow)-\w{8}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "…", text)


@pytest.mark.parametrize(("method", "path", "make", "body"), [c for c in _cases() if "/auth/" not in c.values[1]])
async def test_the_same_request_does_what_it_says_with_ones_own(
    client: Client, method: str, path: str, make: Make, body: Body
) -> None:
    """So that nothing but whose it is can be what is at fault above."""
    answer = await client.request(method, await _in_own(path, client), json=await body(await make(client), client))
    assert answer.status_code < 400, answer.text


_ID = re.compile(r"[a-z]+_[0-9a-hjkmnp-tv-z]{26}")
_NAMES = re.compile(r"/(\w+_id|agent|workflow|role|conversation/id)$")
_OF_OTHERS = {"/messages/*/tool_calls/*/id", "/messages/*/tool_call_id", "/input/*/call_id"}
"""The client's own names, within its request."""


def _fields(
    schema: dict[str, Any], known: dict[str, Any], place: str = "", seen: frozenset[str] = frozenset()
) -> set[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return set() if name in seen else _fields(known[name], known, place, seen | {name})
    found = {place} if schema.get("type") == "string" else set[str]()
    for each in [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]:
        found |= _fields(each, known, place, seen)
    for name, each in schema.get("properties", {}).items():
        found |= _fields(each, known, f"{place}/{name}", seen)
    return found | (_fields(schema["items"], known, f"{place}/*", seen) if "items" in schema else set())


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [pytest.param(*o, id=f"{o[0]} {o[1]}") for o in OPERATIONS if "requestBody" in o[2]],
)
def test_every_field_that_names_something_is_tried(
    app: FastAPI, method: str, path: str, operation: dict[str, Any]
) -> None:
    schema = operation["requestBody"]["content"].get("application/json", {}).get("schema", {})
    fields = {f for f in _fields(schema, app.openapi()["components"]["schemas"]) if _NAMES.search(f)} - _OF_OTHERS
    form = re.sub(r"\{\w+\}", "{}", path)
    tried = {(m, re.sub(r"\{\w+\}", "{}", p.partition("?")[0])) for m, p, _, _ in CASES.values()}
    if fields:
        assert (method, form) in tried, fields
