"""The life of an organisation: active, suspended, deleted (S210)."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from agent_factory.api.access import OrganizationSuspended
from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.services.workflows import service as workflows
from tests.services.organizations.parts import Hire, own
from tests.serving import Client

STEP = {"id": "greet", "type": "transform", "config": {"value": "hello"}}
Refusal = Callable[[Client], None]


async def _refused(client: Client, code: str) -> bool:
    answers = [await client.get("/api/v1/agents"), await client.post("/api/v1/agents", json={})]
    return all((a.status_code, a.json()["code"]) == (403, code) for a in answers)


async def test_while_it_is_suspended_nothing_is_served_but_the_way_back(client: Client, hire: Hire) -> None:
    developer = await hire(client, "developer")
    suspended = await client.post(f"{own(client)}:suspend")
    assert suspended.json()["status"] == "suspended"
    for each in (client, developer):
        assert await _refused(each, "organization_suspended")
        assert (await each.get(own(each))).json()["status"] == "suspended"
    assert (await developer.post(f"{own(client)}:resume")).json()["code"] == "permission_denied"
    assert (await client.post(f"{own(client)}:resume")).json()["status"] == "active"
    assert (await developer.get("/api/v1/agents")).status_code == 200


async def test_while_it_is_suspended_no_trigger_starts_a_run(app: FastAPI, client: Client) -> None:
    made = (await client.post("/api/v1/workflows", json={"name": "flow", "tasks": [STEP]})).json()
    await client.post(f"/api/v1/workflows/{made['id']}:deploy")
    hook = {"workflow": made["id"], "type": "webhook", "config": {}}
    path = (await client.post("/api/v1/triggers", json=hook)).json()["path"]
    await client.post(f"{own(client)}:suspend")
    refused = await client.post(path, json={})
    assert (refused.status_code, refused.json()["code"]) == (403, "organization_suspended")
    with pytest.raises(OrganizationSuspended):
        await workflows.start(app.state.platform, client.actor.organization_id, made["id"], trigger="cron")


async def test_what_the_operator_suspended_only_he_resumes(database: Database, client: Client) -> None:
    async with database.system() as session:
        suspend = text("update organizations set suspended_at = now() where id = :id")
        await session.execute(suspend, {"id": client.actor.organization_id})
    refused = await client.post(f"{own(client)}:resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "organization_status_conflict")
    assert (await client.delete(own(client))).status_code == 204
    assert (await client.post(f"{own(client)}:restore")).json()["status"] == "suspended"


async def test_a_deleted_organisation_rests_and_can_be_restored(client: Client, hire: Hire) -> None:
    developer = await hire(client, "developer")
    agent = await client.create_agent()
    assert (await developer.delete(own(client))).status_code == 403
    assert (await client.delete(own(client))).status_code == 204
    shown = (await client.get(own(client))).json()
    assert shown["status"] == "deleted"
    assert shown["restorable_until"] > (now() + timedelta(days=29)).isoformat()
    assert await _refused(client, "organization_deleted")
    assert (await developer.post(f"{own(client)}:restore")).status_code == 403
    assert (await client.post(f"{own(client)}:resume")).status_code == 409
    assert (await client.post(f"{own(client)}:restore")).json()["status"] == "active"
    assert (await client.get(f"/api/v1/agents/{agent['id']}")).status_code == 200


async def test_after_its_grace_it_is_not_restored(database: Database, client: Client) -> None:
    await client.delete(own(client))
    async with database.system() as session:
        long_ago = text("update organizations set deleted_at = now() - interval '31 days' where id = :id")
        await session.execute(long_ago, {"id": client.actor.organization_id})
    assert (await client.post(f"{own(client)}:restore")).status_code == 409


async def test_what_is_being_purged_is_not_restored_whatever_the_grace(database: Database, client: Client) -> None:
    await client.delete(own(client))
    async with database.system() as session:
        begun = text("update organizations set purge_began_at = now() where id = :id")
        await session.execute(begun, {"id": client.actor.organization_id})
    assert (await client.get(own(client))).json()["restorable_until"] is None
    assert (await client.post(f"{own(client)}:restore")).status_code == 409


@pytest.mark.parametrize("verb", [":suspend", ":restore", ":resume", ":leave"])
async def test_ones_steps_do_not_reach_another_organisation(client: Client, stranger: Client, verb: str) -> None:
    """Abuse 34."""
    assert (await client.post(own(stranger) + verb)).status_code == 404
    assert (await stranger.get(own(stranger))).json()["status"] == "active"


async def test_a_step_that_was_made_already_changes_nothing(client: Client) -> None:
    first = (await client.post(f"{own(client)}:suspend")).json()
    await client.post(f"{own(client)}:resume")
    assert (await client.post(f"{own(client)}:resume")).json() == {**first, "status": "active"}
    assert (await client.post(f"{own(client)}:restore")).json()["status"] == "active"
