"""The people of an organisation: roles, and the last owner (abuse 46, 47)."""

import asyncio
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from agent_factory.database.session import Database, Session
from agent_factory.kit.ids import uuid7
from agent_factory.security.rbac import Denied
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations import service
from tests.services.organizations.parts import Hire, make_role, member, own, user
from tests.serving import Client, client_of

WAYS_OUT: dict[str, tuple[str, str, Any]] = {
    "demoted": ("PATCH", "", {"role": "viewer"}),
    "removed": ("DELETE", "", None),
    "disabled": ("POST", ":disable", None),
}


async def _owners(database: Database, client: Client) -> int:
    async with database.read(client.actor.organization_id) as session:
        query = "select count(*) from users where role in ('admin', 'organization_owner') and status = 'active'"
        return await session.scalar(text(query)) or 0


async def _go(client: Client, way: str, whom: Client) -> int:
    if way == "leaves":
        return (await whom.post(f"{own(whom)}:leave")).status_code
    method, verb, body = WAYS_OUT[way]
    return (await client.request(method, member(whom) + verb, json=body)).status_code


async def test_the_people_are_listed_with_role_and_status(client: Client, hire: Hire) -> None:
    dev = await hire(client, "developer")
    listed = (await dev.get(f"{own(client)}/members")).json()["data"]
    assert {(m["id"], m["role"], m["status"]) for m in listed} == {
        (user(client), "organization_owner", "active"),
        (user(dev), "developer", "active"),
    }


async def test_another_role_is_in_force_at_the_next_request(client: Client, hire: Hire) -> None:
    viewer = await hire(client, "viewer")
    assert (await viewer.post("/api/v1/agents", json={"name": "a", "model": "demo"})).status_code == 403
    changed = await client.patch(member(viewer), json={"role": "developer"})
    assert changed.json()["role"] == "developer"
    assert (await viewer.post("/api/v1/agents", json={"name": "a", "model": "demo"})).status_code == 201


@pytest.mark.parametrize("way", [*WAYS_OUT, "leaves"])
async def test_the_last_owner_stays(database: Database, client: Client, hire: Hire, way: str) -> None:
    """Abuse 47: also where others are there who do not lead, or are disabled."""
    await hire(client, "team_lead")
    await hire(client, "organization_owner", status="disabled")
    assert await _go(client, way, client) == 409
    assert await _owners(database, client) == 1
    assert (await client.get(member(client))).json()["role"] == "organization_owner"


@pytest.mark.parametrize("way", [*WAYS_OUT, "leaves"])
async def test_one_of_two_owners_may_go(database: Database, client: Client, hire: Hire, way: str) -> None:
    other = await hire(client, "organization_owner")
    assert await _go(client, way, other) in (200, 204)
    assert await _owners(database, client) == 1


@pytest.mark.parametrize("way", WAYS_OUT)
async def test_two_owners_who_turn_on_each_other_leave_one(
    database: Database, client: Client, hire: Hire, way: str
) -> None:
    """Abuse 47, at the same moment: the second finds itself without the right, or the last."""
    for _ in range(5):
        one, other = await hire(client, "organization_owner"), await hire(client, "organization_owner")
        await client.patch(member(client), json={"role": "viewer"})
        codes = await asyncio.gather(_go(one, way, other), _go(other, way, one))
        assert min(codes) in (200, 204)
        assert max(codes) in (401, 403, 409)
        assert await _owners(database, client) == 1
        async with database.write(client.actor.organization_id) as session:
            await session.execute(text("update users set role = 'viewer' where role = 'organization_owner'"))
            await session.execute(
                text("update users set role = 'organization_owner' where id = :id"), {"id": client.actor.user_id}
            )


async def test_of_many_owners_who_leave_at_once_one_stays(database: Database, client: Client, hire: Hire) -> None:
    owners = [client, *[await hire(client, "organization_owner") for _ in range(5)]]
    codes = await asyncio.gather(*(_go(each, "leaves", each) for each in owners))
    assert sorted(codes) == [204, 204, 204, 204, 204, 409]
    assert await _owners(database, client) == 1


@pytest.mark.parametrize("role", ["organization_owner", "admin", "team_lead"])
async def test_nobody_gives_himself_or_others_more_than_he_has(client: Client, hire: Hire, role: str) -> None:
    """Abuse 46."""
    manager = await hire(client, await make_role(client, "user:manage", "agent:read", "workflow:read"))
    viewer = await hire(client, "viewer")
    for whom in (manager, viewer):
        refused = await manager.patch(member(whom), json={"role": role})
        assert refused.status_code == 403
        assert refused.json()["code"] == "permission_denied"
    assert (await client.get(member(manager))).json()["role"] == manager.actor.role
    assert (await client.get(member(viewer))).json()["role"] == "viewer"


@pytest.mark.parametrize("way", WAYS_OUT)
async def test_nobody_acts_on_those_who_may_do_more(client: Client, hire: Hire, way: str) -> None:
    manager = await hire(client, await make_role(client, "user:manage"))
    developer = await hire(client, "developer")
    assert await _go(manager, way, developer) == 403
    assert await _go(manager, way, client) == 403


async def test_an_owner_appoints_an_admin(client: Client, hire: Hire) -> None:
    """S50: whoever holds every permission may give them all."""
    developer = await hire(client, "developer")
    assert (await client.patch(member(developer), json={"role": "admin"})).status_code == 200


async def test_who_has_just_lost_a_right_gives_nobody_anything_by_it(
    database: Database, client: Client, hire: Hire
) -> None:
    """A process believes what it knows for 5 seconds; that must not be enough to win the right back."""
    former = await hire(client, "viewer")
    believed = msgspec.structs.replace(former.actor, role="organization_owner", rights=frozenset({"*"}))
    with pytest.raises(Denied):
        async with database.write(former.actor.organization_id) as session:
            await service.change_role(session, believed, former.actor.user_id, "organization_owner")
    assert (await client.get(member(former))).json()["role"] == "viewer"


async def test_a_key_that_was_just_revoked_gives_nobody_anything(
    database: Database, client: Client, hire: Hire
) -> None:
    """Whoever has stolen it has 5 seconds, and must not make them last."""
    accomplice = await hire(client, "viewer")
    async with database.read(client.actor.organization_id) as session:
        (key_id,) = await session.scalars(
            text("select id from api_keys where user_id = :u"), {"u": client.actor.user_id}
        )
    believed = msgspec.structs.replace(client.actor, key_id=key_id)
    async with database.system() as session:
        await session.execute(text("update api_keys set revoked_at = now() where id = :id"), {"id": key_id})

    async def promote(session: Session) -> None:
        await service.change_role(session, believed, accomplice.actor.user_id, "organization_owner")

    async def make_a_key(session: Session) -> None:
        await auth.create_key(session, believed, auth.WantedKey(name="mine"))

    async def make_a_service(session: Session) -> None:
        await auth.create_key(session, believed, auth.WantedKey(name="x", kind="service", scopes=["agent:run"]))

    for step in (promote, make_a_key, make_a_service):
        with pytest.raises(Denied):
            async with database.write(client.actor.organization_id) as session:
                await step(session)


async def test_who_was_just_demoted_keeps_no_key_with_what_he_had(
    database: Database, client: Client, hire: Hire
) -> None:
    former = await hire(client, "viewer")
    believed = msgspec.structs.replace(former.actor, role="organization_owner", rights=frozenset({"*"}))
    with pytest.raises(Denied):
        async with database.write(former.actor.organization_id) as session:
            await auth.create_key(session, believed, auth.WantedKey(name="x", kind="service", scopes=["org:*"]))


async def test_a_role_that_nobody_knows_is_a_fault_of_the_field(client: Client, hire: Hire) -> None:
    developer = await hire(client, "developer")
    refused = await client.patch(member(developer), json={"role": "emperor"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/role"


async def test_a_disabled_person_stays_out_until_enabled(client: Client, hire: Hire) -> None:
    developer = await hire(client, "developer")
    assert (await client.post(f"{member(developer)}:disable")).json()["status"] == "disabled"
    assert (await developer.get("/api/v1/agents")).status_code == 401
    assert (await client.post(f"{member(developer)}:enable")).json()["status"] == "active"
    assert (await developer.get("/api/v1/agents")).status_code == 200


async def test_who_is_removed_loses_keys_teams_and_grants_and_leaves_what_he_made(
    database: Database, client: Client, hire: Hire
) -> None:
    developer = await hire(client, "developer")
    agent = await developer.create_agent("mine")
    granted = {"user_id": user(developer), "agent_id": agent["id"], "rights": ["agent:run"]}
    assert (await client.post("/api/v1/grants", json=granted)).status_code == 201
    assert (await client.delete(member(developer))).status_code == 204
    assert (await developer.get("/api/v1/agents")).status_code == 401
    assert (await client.get(member(developer))).status_code == 404
    assert (await client.get("/api/v1/grants")).json()["data"] == []
    assert (await client.get(f"/api/v1/agents/{agent['id']}")).json()["created_by"] == user(developer)
    async with database.read(client.actor.organization_id) as session:
        keys = text("select count(*) from api_keys where user_id = :id")
        assert await session.scalar(keys, {"id": developer.actor.user_id}) == 0


async def test_a_person_of_another_organisation_is_nobody_here(client: Client, stranger: Client) -> None:
    """Abuse 35."""
    path = f"{own(client)}/members/{user(stranger)}"
    assert (await client.patch(path, json={"role": "viewer"})).status_code == 404
    assert (await client.delete(path)).status_code == 404


async def test_a_service_has_no_role_and_manages_people_by_the_scopes_of_its_key(app: FastAPI, client: Client) -> None:
    body = {"name": "directory", "kind": "service", "scopes": ["user:manage", "agent:read", "workflow:read"]}
    made = await client.post("/api/v1/api-keys", json=body)
    assert made.status_code == 201, made.text
    path = f"{own(client)}/members/{made.json()['user_id']}"
    assert (await client.get(path)).json()["kind"] == "service"
    refused = await client.patch(path, json={"role": "organization_owner"})
    assert (refused.status_code, refused.json()["code"]) == (409, "service_has_no_role")
    async with client_of(app, made.json()["key"]) as service:
        invitations = f"{own(client)}/invitations"
        for role, code in (("viewer", 201), ("developer", 403)):
            asked = {"email": f"{uuid7().hex}@example.com", "role": role}
            assert (await service.post(invitations, json=asked)).status_code == code
    assert (await client.post(f"{path}:disable")).status_code == 200
