"""Every write that is refused leaves one event that says so, and nothing else (S196, abuse 34, 39, 45).

Generated over the writes of the document, for each reason for which one can be
refused to somebody who is known.
"""

import re
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from agent_factory.database.models import AuditEventRow, UserRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.security.auth import Actor
from tests.security.test_audit_routes import WRITES
from tests.serving import Client, Sign, opened, settings_for
from tests.test_tenancy import HAVE_IDS, MAKERS, SHARED, _body, _query, _rows, _whole


@pytest.fixture(scope="module")
async def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FastAPI, None]:
    """Every room and a worker, for an approval is asked for by a run that is worked on."""
    tools = {"workspace": tmp_path_factory.mktemp("files")}
    async with opened(settings_for(database_url, tools=tools, queue=QueueSettings())) as running:
        yield running


@pytest.fixture
async def guest(client: Client, sign: Sign, database: Database) -> Client:
    """A member who may nothing."""
    user_id = uuid7()
    row = UserRow(organization_id=client.actor.organization_id, email=f"{user_id}@example.com", role="guest")
    row.id = user_id
    async with database.system() as session:
        session.add(row)
    return await sign(Actor(organization_id=client.actor.organization_id, user_id=user_id, role="guest"))


async def _filled(path: str, whose: Client) -> str:
    filled = _whole(path).replace("{tool_id}", "calculator").replace("{name}", "absent")
    for name in set(re.findall(r"\{(\w+)\}", filled)) - SHARED:
        filled = filled.replace(f"{{{name}}}", await MAKERS[name](whose))
    return filled


async def _told(database: Database, client: Client, request_id: str) -> list[tuple[str, str, Any]]:
    async with database.read(client.actor.organization_id) as session:
        rows = await session.scalars(select(AuditEventRow).where(AuditEventRow.request_id == request_id))
        return [(row.action, row.outcome, row.details.get("code")) for row in rows]


def _named(operations: list[Any]) -> list[Any]:
    return [pytest.param(*o, id=f"{o[0]} {o[1]}") for o in operations]


EVERYBODYS = {"member", "self:manage"}
GUARDED = [o for o in WRITES if o[2]["x-permission"] not in EVERYBODYS]
OF_OBJECTS = [o for o in WRITES if set(re.findall(r"\{(\w+)\}", _whole(o[1]))) - SHARED]
WITH_BODY = [o for o in WRITES if "requestBody" in o[2] and o[1][:4] != "/v1/"]


@pytest.mark.parametrize(("method", "path", "operation"), _named(GUARDED))
async def test_who_may_not_leaves_an_event_and_nothing_else(
    app: FastAPI,
    database: Database,
    client: Client,
    guest: Client,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> None:
    """Abuse 45."""
    filled = await _filled(path, client)
    before, request_id = await _rows(database, client.actor), uuid7().hex
    answer = await guest.request(
        method, filled, json=_body(operation, app), params=_query(operation), headers={"x-request-id": request_id}
    )
    assert answer.status_code == 403, answer.text
    assert await _told(database, client, request_id) == [(operation["operationId"], "refused", "permission_denied")]
    assert await _rows(database, client.actor) == before


@pytest.mark.parametrize(("method", "path", "operation"), _named(OF_OBJECTS))
async def test_who_tries_anothers_object_leaves_an_event_among_his_own(
    app: FastAPI,
    database: Database,
    client: Client,
    stranger: Client,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> None:
    """Abuse 34: in the organisation of who tried, and none in the other's."""
    filled = await _filled(path, stranger)
    before, request_id = await _rows(database, client.actor), uuid7().hex
    answer = await client.request(
        method, filled, json=_body(operation, app), params=_query(operation), headers={"x-request-id": request_id}
    )
    assert answer.status_code == 404, answer.text
    told = await _told(database, client, request_id)
    assert [(action, outcome) for action, outcome, _ in told] == [(operation["operationId"], "refused")]
    assert await _told(database, stranger, request_id) == []
    assert await _rows(database, client.actor) == before


@pytest.mark.parametrize("body", ["smuggled", "no JSON", "another type", "no such type", "nothing"])
@pytest.mark.parametrize(("method", "path", "operation"), _named(WITH_BODY))
async def test_a_body_that_is_refused_leaves_an_event_and_nothing_else(
    app: FastAPI, database: Database, client: Client, body: str, method: str, path: str, operation: dict[str, Any]
) -> None:
    """Abuse 39."""
    filled = await _filled(path, client)
    field = "is_public" if path in HAVE_IDS else "id"
    sent: dict[str, Any] = {
        "smuggled": {"json": {**(_body(operation, app) or {}), field: "x"}},
        "no JSON": {"content": b'{"name": ', "headers": {"content-type": "application/json"}},
        "another type": {"json": [1]},
        "no such type": {"content": b"<a/>", "headers": {"content-type": "application/xml"}},
        "nothing": {"content": b"", "headers": {"content-type": "application/json"}},
    }[body]
    before, request_id = await _rows(database, client.actor), uuid7().hex
    sent["headers"] = {**sent.get("headers", {}), "x-request-id": request_id}
    answer = await client.request(method, filled, params=_query(operation), **sent)
    told = await _told(database, client, request_id)
    if answer.status_code < 400:
        assert body == "nothing", answer.text
        return
    assert answer.status_code in (400, 403, 404, 409, 412, 415, 422), answer.text
    found = [(action, outcome) for action, outcome, _ in told]
    if body not in ("no JSON", "no such type"):  # which is refused before anybody is known
        assert found == [(operation["operationId"], "refused")], answer.text
    assert await _rows(database, client.actor) == before
