"""Teams carry roles and grants (merge 4), and nobody gets more by one than others may give (abuse 46)."""

import pytest

from tests.services.organizations.parts import Hire, make_role, make_team, own, user
from tests.serving import Client


async def test_a_team_is_made_renamed_listed_and_deleted(client: Client) -> None:
    made = await client.post(f"{own(client)}/teams", json={"name": "support", "description": "first line"})
    assert made.status_code == 201
    path = made.headers["location"]
    assert (await client.get(path)).json() == made.json()
    assert (await client.patch(path, json={"name": "help"})).json()["name"] == "help"
    assert [t["name"] for t in (await client.get(f"{own(client)}/teams")).json()["data"]] == ["help"]
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


async def test_a_name_is_taken_once(client: Client) -> None:
    assert (await client.post(f"{own(client)}/teams", json={"name": "support"})).status_code == 201
    second = await client.post(f"{own(client)}/teams", json={"name": "support"})
    assert second.status_code == 409
    assert "team" in second.json()["detail"]


async def test_a_role_in_a_team_adds_its_rights_to_ones_own(client: Client, hire: Hire) -> None:
    """Merge 4."""
    viewer = await hire(client, "viewer")
    path = await make_team(client, viewer, role="developer")
    assert (await viewer.post("/api/v1/agents", json={"name": "a", "model": "demo"})).status_code == 201
    assert (await client.delete(f"{path}/members/{user(viewer)}")).status_code == 204
    assert (await viewer.post("/api/v1/agents", json={"name": "b", "model": "demo"})).status_code == 403


async def test_what_a_team_was_granted_is_its_members(client: Client, hire: Hire) -> None:
    """S49."""
    guest = await hire(client, await make_role(client))
    agent = await client.create_agent()
    path = f"/api/v1/agents/{agent['id']}"
    assert (await guest.get(path)).status_code == 403
    team = await make_team(client, guest)
    granted = {"team_id": team.rpartition("/")[2], "agent_id": agent["id"], "rights": ["agent:read"]}
    assert (await client.post("/api/v1/grants", json=granted)).status_code == 201
    assert (await guest.get(path)).status_code == 200
    assert (await client.delete(team)).status_code == 204
    assert (await guest.get(path)).status_code == 403


@pytest.mark.parametrize("role", ["organization_owner", "admin"])
async def test_a_team_lead_takes_nobody_in_with_more_than_he_has(client: Client, hire: Hire, role: str) -> None:
    """Abuse 46."""
    lead, other = await hire(client, "team_lead"), await hire(client, "viewer")
    path = await make_team(lead)
    for whom in (lead, other):
        refused = await lead.put(f"{path}/members/{user(whom)}", json={"role": role})
        assert refused.status_code == 403
    assert (await client.get(f"{path}/members")).json()["data"] == []


async def test_nobody_joins_a_team_for_grants_that_he_could_not_give(client: Client, hire: Hire) -> None:
    """Abuse 46."""
    gatherer = await hire(client, await make_role(client, "team:*"))
    agent = await client.create_agent()
    path = await make_team(client)
    granted = {"team_id": path.rpartition("/")[2], "agent_id": agent["id"], "rights": ["agent:edit"]}
    assert (await client.post("/api/v1/grants", json=granted)).status_code == 201
    assert (await gatherer.put(f"{path}/members/{user(gatherer)}", json={})).status_code == 403
    assert (await gatherer.delete(path)).status_code == 403
    lead = await hire(client, "team_lead")
    assert (await lead.put(f"{path}/members/{user(lead)}", json={})).status_code == 200


async def test_a_place_with_a_higher_role_is_not_taken_away_from_below(client: Client, hire: Hire) -> None:
    lead, other = await hire(client, "team_lead"), await hire(client, "viewer")
    path = await make_team(client, other, role="organization_owner")
    assert (await lead.put(f"{path}/members/{user(other)}", json={"role": "viewer"})).status_code == 403
    assert (await lead.delete(f"{path}/members/{user(other)}")).status_code == 403
    assert (await lead.delete(path)).status_code == 403
    assert (await client.delete(path)).status_code == 204


async def test_what_a_team_was_granted_is_not_taken_away_from_below(client: Client, hire: Hire) -> None:
    """By taking somebody out of it, as little as by deleting it or its grant."""
    gatherer, other = await hire(client, await make_role(client, "team:*")), await hire(client, "viewer")
    agent = await client.create_agent()
    path = await make_team(client, other)
    granted = {"team_id": path.rpartition("/")[2], "agent_id": agent["id"], "rights": ["agent:run"]}
    assert (await client.post("/api/v1/grants", json=granted)).status_code == 201
    assert (await gatherer.delete(f"{path}/members/{user(other)}")).status_code == 403
    may = {"resource": agent["id"], "action": "run"}
    assert (await other.post("/api/v1/permissions:check", json=may)).json() == {"allowed": True}
    assert (await client.delete(f"{path}/members/{user(other)}")).status_code == 204
    assert (await other.post("/api/v1/permissions:check", json=may)).json() == {"allowed": False}


async def test_the_people_of_a_team_are_listed_page_by_page(client: Client, hire: Hire) -> None:
    people = [await hire(client, "viewer") for _ in range(3)]
    path = await make_team(client, *people)
    first = (await client.get(f"{path}/members", params={"limit": 2})).json()
    rest = (await client.get(f"{path}/members", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [m["user_id"] for m in first["data"] + rest["data"]] == [user(p) for p in reversed(people)]
    assert not rest["has_more"]


async def test_a_stranger_is_in_no_team_of_ours(client: Client, stranger: Client) -> None:
    """Abuse 35."""
    path = await make_team(client)
    assert (await client.put(f"{path}/members/{user(stranger)}", json={})).status_code == 404


async def test_who_is_not_in_a_team_cannot_be_taken_out(client: Client) -> None:
    path = await make_team(client)
    gone = await client.delete(f"{path}/members/{user(client)}")
    assert (gone.status_code, gone.json()["code"]) == (404, "team_member_not_found")
