"""Roles of an organisation's own (S47, S48), and the question who may do what (S43)."""

from typing import Any

import pytest

from agent_factory.security.rbac import ROLES, expand
from tests.services.organizations.parts import Hire, make_role, make_team, member, user
from tests.serving import Client


async def test_every_role_is_listed_with_what_it_holds(client: Client) -> None:
    await make_role(client, "agent:run", name="runner")
    listed = {r["name"]: r for r in (await client.get("/api/v1/roles")).json()["data"]}
    assert set(listed) == {*ROLES, "runner"}
    for name, rights in ROLES.items():
        assert listed[name]["built_in"]
        assert set(listed[name]["rights"]) == rights
        assert set(listed[name]["permissions"]) == expand(rights)
    assert listed["runner"]["permissions"] == ["agent:run"]
    assert (await client.get("/api/v1/roles/runner")).json() == listed["runner"]
    assert (await client.get("/api/v1/roles/viewer")).json() == listed["viewer"]


async def test_a_role_of_ones_own_gives_exactly_its_rights(client: Client, hire: Hire) -> None:
    person = await hire(client, await make_role(client, "agent:create"))
    assert (await person.post("/api/v1/agents", json={"name": "a", "model": "demo"})).status_code == 201
    assert (await person.get("/api/v1/agents")).status_code == 403


async def test_a_change_of_a_role_is_one_for_all_who_have_it(client: Client, hire: Hire) -> None:
    role = await make_role(client, "agent:read")
    person = await hire(client, role)
    assert (await person.get("/api/v1/agents")).status_code == 200
    changed = await client.patch(f"/api/v1/roles/{role}", json={"rights": ["workflow:read"]})
    assert changed.json()["rights"] == ["workflow:read"]
    assert (await person.get("/api/v1/agents")).status_code == 403


async def test_nobody_makes_or_widens_a_role_beyond_his_own(client: Client, hire: Hire) -> None:
    """Abuse 46."""
    role = await make_role(client, "org:roles", "agent:read")
    clerk = await hire(client, role)
    for rights in (["*"], ["org:*"], ["agent:*"], ["agent:read", "billing:read"]):
        assert (await clerk.post("/api/v1/roles", json={"name": "mine", "rights": rights})).status_code == 403
        assert (await clerk.patch(f"/api/v1/roles/{role}", json={"rights": rights})).status_code == 403
    assert (await clerk.post("/api/v1/roles", json={"name": "mine", "rights": ["agent:read"]})).status_code == 201
    above = await make_role(client, "billing:read")
    assert (await clerk.patch(f"/api/v1/roles/{above}", json={"rights": []})).status_code == 403
    assert (await clerk.delete(f"/api/v1/roles/{above}")).status_code == 403


@pytest.mark.parametrize("right", ["agent:fly", "moon:land", "agent", ":", "agent:", "*:*", "AGENT:READ", " *", ""])
async def test_a_right_that_is_none_is_told_by_its_pointer(client: Client, right: str) -> None:
    refused = await client.post("/api/v1/roles", json={"name": "x", "rights": ["agent:read", right]})
    assert refused.status_code == 422
    assert [e["pointer"] for e in refused.json()["errors"]] == ["/rights/1"]


@pytest.mark.parametrize("name", ["viewer", "admin", "owner", "system", "member"])
async def test_names_with_a_meaning_are_reserved(client: Client, name: str) -> None:
    refused = await client.post("/api/v1/roles", json={"name": name, "rights": []})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/name"


@pytest.mark.parametrize("name", ["Upper", "with space", "1st", "x" * 51, "a/b", ""])
async def test_a_name_is_a_plain_word(client: Client, name: str) -> None:
    assert (await client.post("/api/v1/roles", json={"name": name, "rights": []})).status_code == 422


async def test_a_name_is_taken_once_in_an_organisation(client: Client, stranger: Client) -> None:
    await make_role(client, name="runner")
    assert (await client.post("/api/v1/roles", json={"name": "runner", "rights": []})).status_code == 409
    await make_role(stranger, name="runner")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_built_in_roles_stay_as_they_are(client: Client, method: str) -> None:
    body = {"rights": ["*"]} if method == "PATCH" else None
    refused = await client.request(method, "/api/v1/roles/viewer", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "role_built_in")


@pytest.mark.parametrize("holder", ["a person", "a place in a team", "an invitation"])
async def test_a_role_that_somebody_has_or_was_promised_is_not_deleted(client: Client, hire: Hire, holder: str) -> None:
    role = await make_role(client, "agent:read")
    if holder == "a person":
        person = await hire(client, role)
    elif holder == "a place in a team":
        person = await hire(client, "viewer")
        await make_team(client, person, role=role)
    else:
        path = member(client).rpartition("/members")[0]
        invited = await client.post(f"{path}/invitations", json={"email": "new@example.com", "role": role})
        assert invited.status_code == 201
    refused = await client.delete(f"/api/v1/roles/{role}")
    assert (refused.status_code, refused.json()["code"]) == (409, "role_in_use")


async def test_a_role_that_nobody_has_is_deleted(client: Client) -> None:
    role = await make_role(client, "agent:read")
    assert (await client.delete(f"/api/v1/roles/{role}")).status_code == 204
    assert (await client.get(f"/api/v1/roles/{role}")).status_code == 404


@pytest.mark.parametrize(
    ("role", "question", "allowed"),
    [
        ("viewer", {"resource": "agent", "action": "read"}, True),
        ("viewer", {"resource": "agent", "action": "edit"}, False),
        ("developer", {"resource": "workflow", "action": "publish"}, True),
        ("team_lead", {"resource": "billing", "action": "read"}, False),
        ("admin", {"resource": "org", "action": "delete"}, True),
    ],
)
async def test_whether_somebody_may_is_told(
    client: Client, hire: Hire, role: str, question: dict[str, Any], allowed: bool
) -> None:
    """S43: `checkPermissions(user, resource, action)`."""
    person = await hire(client, role)
    mine = await person.post("/api/v1/permissions:check", json=question)
    assert mine.json() == {"allowed": allowed}
    of_him = await client.post("/api/v1/permissions:check", json={**question, "user_id": user(person)})
    assert of_him.json() == {"allowed": allowed}


async def test_of_one_resource_the_answer_counts_grants(client: Client, hire: Hire) -> None:
    """S43, S49."""
    guest = await hire(client, await make_role(client))
    one, other = await client.create_agent("one"), await client.create_agent("other")
    granted = {"user_id": user(guest), "agent_id": one["id"], "rights": ["agent:run"]}
    assert (await client.post("/api/v1/grants", json=granted)).status_code == 201
    for agent, allowed in ((one, True), (other, False)):
        question = {"resource": agent["id"], "action": "run", "user_id": user(guest)}
        answer = await client.post("/api/v1/permissions:check", json=question)
        assert answer.json() == {"allowed": allowed}


async def test_a_disabled_person_may_nothing(client: Client, hire: Hire) -> None:
    person = await hire(client, "admin", status="disabled")
    question = {"resource": "agent", "action": "read", "user_id": user(person)}
    assert (await client.post("/api/v1/permissions:check", json=question)).json() == {"allowed": False}


async def test_only_those_who_manage_people_are_told_about_others(client: Client, hire: Hire) -> None:
    developer = await hire(client, "developer")
    question = {"resource": "agent", "action": "read", "user_id": user(client)}
    assert (await developer.post("/api/v1/permissions:check", json=question)).status_code == 403


@pytest.mark.parametrize(
    ("question", "pointer"),
    [
        ({"resource": "agent", "action": "fly"}, "/action"),
        ({"resource": "moon", "action": "land"}, "/resource"),
        ({"resource": "run_x", "action": "read"}, "/resource"),
    ],
)
async def test_a_question_about_nothing_is_a_fault(client: Client, question: dict[str, str], pointer: str) -> None:
    refused = await client.post("/api/v1/permissions:check", json=question)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == pointer
