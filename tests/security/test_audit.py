"""The audit trail: nothing is lost, and whatever is touched is named (S196-S198, abuse 76)."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from agent_factory.database.models import AuditEventRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.security import audit
from agent_factory.security.audit import AuditSettings, Event, Lookout
from agent_factory.security.audit.allowance import Allowance
from agent_factory.security.auth import Actor
from agent_factory.security.egress import Egress, EgressBlocked
from tests.security.sealing import trail_of
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
    assert (denied.action, denied.outcome) == ("agents_update", "refused")


async def test_where_an_organisations_agents_reach_for_is_recorded_once_a_host(
    database: Database, actor: Actor, serve: Callable[[None], Awaitable[Any]]
) -> None:
    """S203: what was blocked each time, and a host that is new."""
    server = await serve(None)
    settings = AuditSettings(refusals=3)
    lookout, other = Lookout(database.pool, settings), Lookout(database.pool, settings)
    egress = Egress()
    try:
        for each in (lookout, other):
            open_to = egress.trusting(server.authority).watched(each.of(actor.organization_id))
            for _ in range(2):
                await open_to.request("GET", server.url)
            await each.close()
        closed = egress.watched(lookout.of(actor.organization_id))
        for _ in range(5):
            with pytest.raises(EgressBlocked):
                await closed.request("GET", "http://169.254.169.254/latest/meta-data")
        await lookout.close()
    finally:
        await egress.close()
    found = [(e.action, e.resource, e.outcome) for e in await events_of(database, actor)]
    assert found == [
        ("egress.new_host", "127.0.0.1", "observed"),
        *[("egress.blocked", "169.254.169.254", "refused")] * 3,
    ]


async def test_what_is_refused_over_and_over_is_recorded_up_to_a_bound(
    database: Database, actor: Actor, tmp_path: Path
) -> None:
    trail = trail_of(database, tmp_path, refusals=3)
    for _ in range(5):
        await trail.refused(Event(action="agents_update", actor=actor))
    assert [(e.action, e.outcome) for e in await events_of(database, actor)] == [("agents_update", "refused")] * 3


def test_what_was_left_out_is_counted_for_the_next_that_is_not() -> None:
    moment = 0.0
    allowance = Allowance(2, clock=lambda: moment)
    caller, organization = uuid7(), uuid7()
    assert [allowance.take(caller, organization) for _ in range(5)] == [0, 0, None, None, None]
    moment = 61.0
    assert allowance.take(caller, organization) == 3
    others = [allowance.take(uuid7(), organization) for _ in range(30)]
    assert others.count(0) == 19
    assert others.count(None) == 11


async def test_a_pseudonym_is_the_same_for_every_process_and_says_nothing(
    fresh_database_url: str, tmp_path: Path
) -> None:
    made: set[str] = set()
    for _ in range(2):
        database = Database(fresh_database_url)
        trail = trail_of(database, tmp_path)
        made |= {await trail.pseudonym("Someone@Example.com"), await trail.pseudonym("someone@example.com ")}
        await database.close()
    assert len(made) == 1
    assert "someone" not in made.pop()
