"""No organisation reaches another's objects: every object route of the document, tried (abuse 1, 34, 35, 39, 40).

Which routes there are comes from the document, so a route that is added is
tried from the day it exists; an object kind that no maker below knows fails.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport
from sqlalchemy import text

from agent_factory.assembly import ROOMS
from agent_factory.database.models import UserRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import encode, uuid7
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.settings import Settings
from tests.serving import Client, make_app, opened, settings_for

FAMILIES = {
    "what runs here, and its reference": {"/", "/docs", "/openapi.json"},
    "the probes of its operator": {"/health", "/ready", "/metrics"},
    "webhooks of workflows, whose owners choose whether requests have to be signed": {"/webhook/{path}"},
    "the public keys of our tokens": {"/.well-known/jwks.json"},
    "ways in, for those who have no credentials yet": {
        f"/api/v1/auth/{door}"
        for door in (
            "login",
            "refresh",
            "register",
            "accept-invitation",
            "verify-email",
            "resend-verification",
            "forgot-password",
            "reset-password",
        )
    },
}
"""What may be asked without credentials."""

OPEN = set[str]().union(*FAMILIES.values())

SHARED = {"tool_id", "name"}
"""Path parameters of what comes with the product and belongs to nobody: tools, templates."""

GREETING = {"id": "greet", "type": "transform", "config": {"value": "hello"}}
"""A task that needs nobody."""

INSIDE = {"{number}": "1", "{path}": "greet"}
"""Path parameters that name a part of an object."""

HAVE_IDS = {f"/api/v1/workflows{rest}" for rest in ("", ":validate", "/{workflow_id}", "/{workflow_id}/versions")}
"""Writes of a definition that has an `id` in the specification's own format (S99)."""

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
async def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FastAPI, None]:
    """Every room and a worker, for an approval is asked for by a run that is worked on."""
    tools = {"workspace": tmp_path_factory.mktemp("files")}
    async with opened(settings_for(database_url, tools=tools, queue=QueueSettings())) as running:
        yield running


def _operations() -> list[Operation]:
    document = make_app(Settings()).openapi()
    return [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


OPERATIONS = _operations()
OBJECTS = [
    o for o in OPERATIONS if set(re.findall(r"\{(\w+)\}", o[1])) - SHARED - {name.strip("{}") for name in INSIDE}
]
WRITES = [o for o in OPERATIONS if o[0] in ("POST", "PUT", "PATCH") and "requestBody" in o[2] and o[1][:4] != "/v1/"]
"""Writes of our own; under /v1 a field of OpenAI's that we do not know is not always a fault."""


FIELDS = ("org_id", "organization_id", "owner_id", "id", "is_public", "created_at", "role")
"""What a body could try to say, and may not."""


def _smuggled() -> list[Any]:
    return [
        pytest.param(field, *operation, id=f"{field}-{operation[0]} {operation[1]}")
        for operation in WRITES
        for field in FIELDS
        if field != "id" or operation[1] not in HAVE_IDS
    ]


def _named(operations: list[Operation]) -> list[Any]:
    return [pytest.param(*o, id=f"{o[0]} {o[1]}") for o in operations]


async def _agent(client: Client) -> str:
    agent = await client.create_agent(f"agent-{uuid7().hex[-12:]}")
    answer = await client.post(f"/api/v1/agents/{agent['id']}:deploy")
    assert answer.status_code == 200
    return agent["id"]


async def _key(client: Client) -> str:
    return (await client.post("/api/v1/api-keys", json={"name": "theirs"})).json()["id"]


async def _me(client: Client) -> dict[str, Any]:
    return (await client.get("/api/v1/auth/me")).json()


async def _user(client: Client) -> str:
    return (await _me(client))["user"]["id"]


async def _organization(client: Client) -> str:
    return (await _me(client))["organization_id"]


async def _session(client: Client) -> str:
    answer = await client.post("/api/v1/sessions", json={"agent": await _agent(client)})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def _run(client: Client) -> str:
    answer = await client.post(f"/api/v1/sessions/{await _session(client)}/messages", json={"content": "hello"})
    assert answer.status_code in (200, 201), answer.text
    return (await client.get("/api/v1/runs")).json()["data"][0]["id"]


async def _model(client: Client) -> str:
    agent = (await client.get(f"/api/v1/agents/{await _agent(client)}")).json()
    return f"agent:{agent['name']}"


async def _response(client: Client) -> str:
    answer = await client.post("/v1/responses", json={"model": await _model(client), "input": "hello"})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


async def _workflow(client: Client) -> str:
    definition = {"name": f"workflow-{uuid7().hex[-12:]}", "tasks": [GREETING]}
    made = await client.post("/api/v1/workflows", json=definition)
    assert made.status_code == 201, made.text
    answer = await client.post(f"/api/v1/workflows/{made.json()['id']}:deploy")
    assert answer.status_code == 200, answer.text
    return made.json()["id"]


async def _approval(client: Client) -> str:
    asking = {"id": "ask", "type": "approval", "config": {"title": "May I?"}}
    run = await client.post("/api/v1/workflows/execute?wait=30", json={"workflow": {"name": "asks", "tasks": [asking]}})
    assert run.json()["status"] == "waiting", run.text
    return run.json()["waits"][0]["approval_id"]


async def _trigger(client: Client) -> str:
    config = {"cron": "0 8 * * 1"}
    answer = await client.post(
        "/api/v1/triggers", json={"workflow": await _workflow(client), "type": "cron", "config": config}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def _event(client: Client) -> str:
    await _agent(client)
    return (await client.get("/api/v1/audit-events")).json()["data"][0]["id"]


async def _secret(client: Client) -> str:
    body = {"name": f"KEY_{uuid7().hex[-12:]}", "value": "the-value-of-it", "hosts": ["api.example.com"]}
    return (await client.post("/api/v1/secrets", json=body)).json()["id"]


async def _budget(client: Client) -> str:
    key_id = await _key(client)
    asked = {"key_id": key_id, "metric": "usd", "period": "month", "amount": "50"}
    answer = await client.post("/api/v1/budgets", json=asked)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def _role(client: Client) -> str:
    body = {"name": f"role-{uuid7().hex[-12:]}", "rights": ["agent:read"]}
    return (await client.post("/api/v1/roles", json=body)).json()["name"]


async def _team(client: Client) -> str:
    body = {"name": f"team-{uuid7().hex[-12:]}"}
    return (await client.post(f"/api/v1/organizations/{await _organization(client)}/teams", json=body)).json()["id"]


async def _invitation(client: Client) -> str:
    path = f"/api/v1/organizations/{await _organization(client)}/invitations"
    answer = await client.post(path, json={"email": f"{uuid7().hex}@example.com"})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def _grant(client: Client) -> str:
    body = {"user_id": await _user(client), "agent_id": await _agent(client), "rights": ["agent:run"]}
    return (await client.post("/api/v1/grants", json=body)).json()["id"]


async def _login(client: Client) -> str:
    assert isinstance(client._transport, ASGITransport)
    platform: Platform = client._transport.app.state.platform  # pyright: ignore[reportFunctionMemberAccess] - our own
    async with platform.database.system() as session:
        person = await session.get_one(UserRow, client.actor.user_id)
        account = await auth.create_account(session, email=person.email, password=None, name="", verified=True)
        person.account_id = account.id
        await session.flush()
        made = await auth.start_session(session, platform.tokens, person)
    return encode("lgn", made.session_id)


MAKERS: dict[str, Callable[[Client], Awaitable[str]]] = {
    "agent_id": _agent,
    "key_id": _key,
    "user_id": _user,
    "organization_id": _organization,
    "session_id": _session,
    "run_id": _run,
    "model": _model,
    "response_id": _response,
    "workflow_id": _workflow,
    "trigger_id": _trigger,
    "approval_id": _approval,
    "budget_id": _budget,
    "secret_id": _secret,
    "event_id": _event,
    "role_name": _role,
    "team_id": _team,
    "invitation_id": _invitation,
    "grant_id": _grant,
    "login_id": _login,
}
"""How an organisation gets an object of each kind that paths name."""


async def _rows(database: Database, actor: Actor) -> dict[str, Any]:
    """Everything that an organisation has, table by table; what was tried stands in the audit trail besides."""
    found: dict[str, Any] = {}
    async with database.read(actor.organization_id) as session:
        tables = (
            await session.execute(
                text(
                    "select table_name from information_schema.columns"
                    " where column_name = 'organization_id' and table_schema = 'public'"
                    " and table_name not like 'audit%' order by 1"
                )
            )
        ).scalars()
        for table in [*tables, "organizations"]:
            rows = await session.execute(text(f"select to_jsonb(t) - 'last_used_at' from {table} t order by 1"))  # noqa: S608 - names from the catalogue
            found[table] = rows.scalars().all()
    return found


def _body(operation: dict[str, Any], app: FastAPI) -> Any:
    """The smallest body that an operation takes, so that nothing but the id can be at fault."""
    if "requestBody" not in operation:
        return None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return _example(schema, app.openapi()["components"]["schemas"])


def _example(schema: dict[str, Any], known: dict[str, Any]) -> Any:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        definitions = {
            "Agent": {"name": "taken-over", "model": "demo"},
            "Workflow": {"name": "taken-over", "tasks": [GREETING]},
        }
        return definitions.get(name) or _example(known[name], known)
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], known)
    if given := schema.get("examples") or schema.get("enum"):
        return given[0]
    if schema.get("type") == "object":
        return {name: _example(schema["properties"][name], known) for name in schema.get("required", [])}
    words = "x" * schema.get("minLength", 1)
    if schema.get("type") == "array":
        return [_example(schema["items"], known)] * schema.get("minItems", 0)
    return {"integer": 1, "number": 1, "boolean": True}.get(str(schema.get("type")), words)


def _whole(path: str) -> str:
    for name, value in INSIDE.items():
        path = path.replace(name, value)
    return path


def _query(operation: dict[str, Any]) -> dict[str, str]:
    """What an operation wants to know besides, so that nothing but the id can be at fault."""
    wanted = [p for p in operation.get("parameters", []) if p["in"] == "query" and p.get("required")]
    return {p["name"]: encode("run", uuid7()) for p in wanted}


@pytest.mark.parametrize(("method", "path", "operation"), _named(OBJECTS))
async def test_another_organisations_object_is_not_there(
    app: FastAPI,
    database: Database,
    client: Client,
    stranger: Client,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> None:
    """Abuse 34, 37: 404 for what is another's, and not a row has changed."""
    filled = _whole(path)
    for name in set(re.findall(r"\{(\w+)\}", filled)) - SHARED:
        filled = filled.replace(f"{{{name}}}", await MAKERS[name](stranger))
    before = await _rows(database, stranger.actor)
    answer = await client.request(method, filled, json=_body(operation, app), params=_query(operation))
    assert answer.status_code == 404, answer.text
    assert await _rows(database, stranger.actor) == before


@pytest.mark.parametrize(("method", "path", "operation"), _named(OBJECTS))
@pytest.mark.parametrize("kind", ["absent", "of another kind", "no id at all"])
async def test_an_object_that_never_was_is_not_there_either(
    app: FastAPI, client: Client, kind: str, method: str, path: str, operation: dict[str, Any]
) -> None:
    """What is another's cannot be told from what is not."""
    prefixes = {"agent_id": "agt", "key_id": "key", "user_id": "usr", "organization_id": "org", "session_id": "ses"}
    prefixes |= {"workflow_id": "wf", "approval_id": "apr", "team_id": "team", "invitation_id": "inv"}
    prefixes |= {"grant_id": "gra"}
    filled = _whole(path)
    for name in set(re.findall(r"\{(\w+)\}", filled)) - SHARED:
        prefix = prefixes.get(name, "run") if kind == "absent" else "xyz"
        value = "../../etc" if kind == "no id at all" else encode(prefix, uuid7())
        filled = filled.replace(f"{{{name}}}", value.replace("/", "%2F"))
    answer = await client.request(method, filled, json=_body(operation, app), params=_query(operation))
    assert answer.status_code == 404, answer.text


@pytest.mark.parametrize(("method", "path", "operation"), _named(OPERATIONS))
async def test_without_credentials_nothing_is_served(
    anyone: Client, method: str, path: str, operation: dict[str, Any]
) -> None:
    """Abuse 1."""
    filled = re.sub(r"\{\w+\}", "x", path)
    body = {} if "requestBody" in operation else None
    answer = await anyone.request(method, filled, json=body)
    assert (answer.status_code == 401) == (path not in OPEN), answer.text
    if path not in OPEN:
        assert "bearer" in answer.headers["www-authenticate"].lower()


def test_the_open_routes_are_few_and_known(app: FastAPI) -> None:
    assert len(FAMILIES) <= 8
    hidden = {getattr(r, "path", "") for r in app.routes if not getattr(r, "include_in_schema", True)}
    assert hidden - OPEN == {"/mcp", "/mcp/agents/{agent_id}", "/api/v1/workflows/execute"}


@pytest.mark.parametrize("path", ["/mcp", "/mcp/agents/support"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_without_credentials_no_tool_is_served(anyone: Client, method: str, path: str) -> None:
    assert (await anyone.request(method, path)).status_code == 401


@pytest.mark.parametrize(("field", "method", "path", "operation"), _smuggled())
async def test_a_body_cannot_smuggle_in_what_is_not_the_callers_to_say(
    app: FastAPI,
    database: Database,
    client: Client,
    field: str,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> None:
    """Abuse 39: an unknown field is refused by name, and nothing happens."""
    filled = _whole(path).replace("{tool_id}", "calculator")
    for name in set(re.findall(r"\{(\w+)\}", filled)):
        filled = filled.replace(f"{{{name}}}", await MAKERS[name](client))
    before = await _rows(database, client.actor)
    answer = await client.request(method, filled, json={**(_body(operation, app) or {}), field: "x"})
    assert answer.status_code == 422, answer.text
    assert f"/{field}" in {e["pointer"] for e in answer.json()["errors"]}
    assert await _rows(database, client.actor) == before


async def test_an_id_in_a_workflows_definition_names_no_row(
    database: Database, client: Client, stranger: Client
) -> None:
    """Abuse 40: the one body that has an `id`, the author's own (S99), touches nothing that exists."""
    taken, theirs = await _workflow(client), await _workflow(stranger)
    mine = (await client.get(f"/api/v1/workflows/{taken}")).json()
    before = await _rows(database, stranger.actor)
    for number, given in enumerate((taken, theirs)):
        made = await client.post("/api/v1/workflows", json={"id": given, "name": f"copy-{number}", "tasks": [GREETING]})
        assert made.status_code == 201, made.text
        assert made.json()["id"] not in (taken, theirs)
    assert (await client.get(f"/api/v1/workflows/{taken}")).json() == mine
    assert await _rows(database, stranger.actor) == before


async def test_an_object_of_another_organisation_in_a_body_is_not_found(client: Client, stranger: Client) -> None:
    """Abuse 35."""
    theirs = await _agent(stranger)
    answer = await client.post("/api/v1/sessions", json={"agent": theirs})
    assert answer.status_code in (404, 422)
    name = (await stranger.get(f"/api/v1/agents/{theirs}")).json()["name"]
    calling = {"name": "boss", "model": "demo", "tools": [{"use": "agent", "config": {"agent": name}}]}
    refused = await client.post("/api/v1/agents", json=calling)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/tools/0/config/agent"


async def test_lists_show_ones_own_rows_only(client: Client, stranger: Client) -> None:
    """Abuse 43."""
    await _run(stranger)
    await _key(stranger)
    await _approval(stranger)
    await _workflow(stranger)
    for kind in ("agents", "sessions", "runs", "workflows", "approvals"):
        assert (await client.get(f"/api/v1/{kind}")).json()["data"] == [], kind
    assert [k["name"] for k in (await client.get("/api/v1/api-keys")).json()["data"]] == ["test"]
    assert [u["id"] for u in (await client.get("/api/v1/users")).json()["data"]] == [await _user(client)]
    assert [o["id"] for o in (await client.get("/api/v1/organizations")).json()["data"]] == [
        await _organization(client)
    ]


async def test_a_cursor_of_another_organisation_leads_to_ones_own_rows(client: Client, stranger: Client) -> None:
    for n in range(3):
        await client.create_agent(f"mine-{n}")
        await stranger.create_agent(f"theirs-{n}")
    cursor = (await stranger.get("/api/v1/agents", params={"limit": 1})).json()["next_cursor"]
    names = [a["name"] for a in (await client.get("/api/v1/agents", params={"cursor": cursor})).json()["data"]]
    assert all(name.startswith("mine-") for name in names)


def test_every_room_is_tried() -> None:
    tried = {path for _, path, _ in OPERATIONS}
    for room in ROOMS:
        routes = [r for router in room.routers for r in router.routes if getattr(r, "include_in_schema", True)]
        shown = {getattr(r, "path_format", "") for r in routes}
        assert shown <= tried, room.name
