"""Every write of the document leaves exactly one event: done or refused (S196, abuse: an event for refused writes).

Which routes there are comes from the document, so a route that is added is
tried from the day it exists; what is made for it comes from the tenancy test.
"""

import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import select

from agent_factory.api.access import Need, need_of
from agent_factory.api.auditing import CHANGES
from agent_factory.database.models import AuditEventRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.services.organizations.service import bootstrap
from tests.serving import Client, client_of, opened, settings_for
from tests.test_tenancy import MAKERS, OPERATIONS, Operation, _body, _query, _whole

_REFUSED = {403, 404, 409, 412, 422}
WRITES = [o for o in OPERATIONS if o[0] in CHANGES and "x-permission" in o[2]]
"""What changes something, for callers that are known."""


@pytest.fixture(scope="module")
async def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FastAPI, None]:
    """Every room and a worker, for an approval is asked for by a run that is worked on."""
    tools = {"workspace": tmp_path_factory.mktemp("files")}
    async with opened(settings_for(database_url, tools=tools, queue=QueueSettings())) as running:
        yield running


def _named(operations: list[Operation]) -> list[Any]:
    return [pytest.param(*o, id=f"{o[0]} {o[1]}") for o in operations]


async def _filled(path: str, client: Client) -> str:
    filled = _whole(path)
    for name in re.findall(r"\{(\w+)\}", filled):
        value = {"tool_id": "calculator"}.get(name) or await MAKERS[name](client)
        filled = filled.replace(f"{{{name}}}", value)
    return filled


def _need(app: FastAPI, method: str, path: str) -> Need:
    route = next(
        r for r in app.routes if isinstance(r, APIRoute) and r.path_format == path and method in (r.methods or ())
    )
    return need_of(route.endpoint)


async def _events(database: Database, client: Client, request_id: str) -> list[AuditEventRow]:
    async with database.read(client.actor.organization_id) as session:
        query = select(AuditEventRow).where(AuditEventRow.request_id == request_id)
        return list(await session.scalars(query))


@pytest.mark.parametrize(("method", "path", "operation"), _named(WRITES))
async def test_a_write_leaves_exactly_one_event(
    app: FastAPI, database: Database, client: Client, method: str, path: str, operation: dict[str, Any]
) -> None:
    request_id = uuid7().hex
    headers = {"x-request-id": request_id}
    filled = await _filled(path, client)
    answer = await client.request(method, filled, json=_body(operation, app), params=_query(operation), headers=headers)
    events = await _events(database, client, request_id)
    found = [(event.action, event.outcome) for event in events]
    if answer.status_code in _REFUSED:
        assert found == [(operation["operationId"], "refused")], answer.text
    elif answer.status_code < 400 and _need(app, method, path).audited:
        assert found == [(operation["operationId"], "succeeded")], answer.text
    else:  # it is a record of itself, or has a name of its own for what happened
        assert len(found) <= 1, answer.text


async def test_a_request_that_is_repeated_changes_nothing_and_leaves_no_second_event(
    database: Database, client: Client
) -> None:
    headers = {"idempotency-key": "once", "x-request-id": uuid7().hex}
    for _ in range(3):
        answer = await client.post("/api/v1/agents", json={"name": "once", "model": "demo"}, headers=headers)
        assert answer.status_code == 201, answer.text
    assert len(await _events(database, client, headers["x-request-id"])) == 1


async def test_a_change_whose_event_cannot_be_written_is_not_made(fresh_database_url: str, tmp_path: Path) -> None:
    """Neither exists without the other."""
    settings = settings_for(fresh_database_url, tools={"workspace": tmp_path})
    async with opened(settings) as app:
        database: Database = app.state.platform.database
        founded = await bootstrap(database)
        assert founded is not None
        owner = await asyncpg.connect(fresh_database_url)
        await owner.execute("REVOKE INSERT ON audit_events FROM af_app")
        await owner.close()
        async with client_of(app, founded.secret) as client:
            answer = await client.post("/api/v1/agents", json={"name": "unseen", "model": "demo"})
            assert answer.status_code == 500, answer.text
            assert (await client.get("/api/v1/agents")).json()["data"] == []


async def test_reading_leaves_no_event(database: Database, client: Client) -> None:
    request_id = uuid7().hex
    await client.get("/api/v1/agents", headers={"x-request-id": request_id})
    await client.get("/api/v1/agents/agt_none", headers={"x-request-id": request_id})
    assert await _events(database, client, request_id) == []
