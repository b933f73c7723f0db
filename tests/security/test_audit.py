"""The audit trail: nothing is lost, and whatever is touched is named (S196-S198, abuse 76)."""

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from agent_factory.database.models import AuditEventRow
from agent_factory.database.session import Database
from agent_factory.security import audit
from agent_factory.security.auth import Actor
from tests.serving import Client


async def events_of(database: Database, actor: Actor) -> list[AuditEventRow]:
    async with database.read(actor.organization_id) as session:
        return list(await session.scalars(select(AuditEventRow).order_by(AuditEventRow.id)))


async def test_an_event_says_who_did_what_from_where(database: Database, actor: Actor) -> None:
    scope = {
        "state": {"request_id": "req-1", "address": "203.0.113.9"},
        "client": ("10.0.0.1", 5000),
        "headers": [(b"host", b"x"), (b"user-agent", b"curl/8")],
    }
    with audit.during(scope):
        async with database.write(actor.organization_id) as session:
            await audit.record(
                session, audit.Event(action="agents_create", actor=actor, resource="agt_1", details={"password": "x"})
            )
    (event,) = await events_of(database, actor)
    assert (event.action, event.resource, event.outcome) == ("agents_create", "agt_1", "succeeded")
    assert (event.organization_id, event.user_id, event.role) == (actor.organization_id, actor.user_id, actor.role)
    assert (event.request_id, event.address, event.user_agent) == ("req-1", "203.0.113.9", "curl/8")
    assert event.details == {"password": "[redacted]"}


async def test_an_event_goes_with_the_change_that_it_tells_of(database: Database, actor: Actor) -> None:
    async def fail() -> None:
        async with database.write(actor.organization_id) as session:
            await audit.record(session, audit.Event(action="agents_create", actor=actor))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await events_of(database, actor) == []


async def test_an_event_can_stand_alone(database: Database, actor: Actor) -> None:
    await audit.record_alone(
        database.pool, audit.Event(action="agents_create", actor=actor, outcome=audit.Outcome.REFUSED, details={"n": 1})
    )
    (event,) = await events_of(database, actor)
    assert (event.outcome, event.details, event.request_id) == ("refused", {"n": 1}, None)


@pytest.mark.parametrize("role", ["app", "system"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET action = 'x'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "UPDATE audit_seals SET position = 1",
        "DELETE FROM audit_seals",
        "DELETE FROM audit_checkpoints",
        "UPDATE audit_checkpoints SET first = 1",
        "UPDATE audit_keys SET public_key = ''",
        "DELETE FROM audit_keys",
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
    ],
)
async def test_no_role_of_ours_changes_what_is_written(
    database: Database, actor: Actor, role: str, statement: str
) -> None:
    opened = database.write(actor.organization_id) if role == "app" else database.system()
    with pytest.raises(DBAPIError) as refused:
        async with opened as session:
            await session.execute(text(statement))
    assert getattr(refused.value.orig, "sqlstate", None) == "42501"


async def test_a_change_and_a_refusal_each_leave_one_event(database: Database, client: Client) -> None:
    """S196, S8: the event carries the request's id, and says what was made."""
    made = await client.post(
        "/api/v1/agents", json={"name": "support", "model": "demo"}, headers={"x-request-id": "r-1"}
    )
    assert made.status_code == 201, made.text
    refused = await client.patch("/api/v1/agents/agt_00000000000000000000000000", json={})
    assert refused.status_code in (404, 422)
    created, denied = await events_of(database, client.actor)
    assert (created.action, created.outcome, created.request_id) == ("agents_create", "succeeded", "r-1")
    assert (created.resource, created.key_id is not None) == (made.json()["id"], True)
    assert (denied.action, denied.outcome) == ("agents_patch", "refused")
