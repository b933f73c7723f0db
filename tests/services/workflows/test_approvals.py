"""What runs ask people, who may answer, and what comes of it."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from agent_factory.database.models import ApprovalRow, UserRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import encode, uuid7
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import ROLES
from agent_factory.services.runs.rules import may_decide
from tests.services.workflows.parts import approval, execute, pure, until, workflow
from tests.serving import Client, Sign

APPROVALS = "/api/v1/approvals"


def asking(**config: Any) -> dict[str, Any]:
    return workflow(approval(after="after", **config), pure("after", "{{ ask.output }}"))


async def colleague(database: Database, sign: Sign, organization_id: UUID, role: str) -> Client:
    """Add a person to an organisation."""
    user_id = uuid7()
    async with database.system() as session:
        email = f"{user_id}@example.com"
        session.add(UserRow(id=user_id, organization_id=organization_id, email=email, name="Colleague", role=role))
    return await sign(Actor(organization_id=organization_id, user_id=user_id, role=role))


async def asked(client: Client, **config: Any) -> tuple[str, str]:
    """Begin a run that asks; gives the ids of run and approval."""
    run = await execute(client, asking(**config))
    assert run["status"] == "waiting", run
    return run["id"], run["waits"][0]["approval_id"]


async def test_a_question_is_shown_and_decided_and_its_run_goes_on(client: Client) -> None:
    run_id, approval_id = await asked(client, title="Pay {{ 6 * 7 }}?", details={"amount": 42})
    listed = (await client.get(APPROVALS, params={"status": "pending"})).json()["data"]
    assert [a["id"] for a in listed] == [approval_id]
    shown = (await client.get(f"{APPROVALS}/{approval_id}")).json()
    assert shown == listed[0]
    assert (shown["run_id"], shown["path"], shown["title"]) == (run_id, "ask/approval", "Pay 42?")
    assert (shown["details"], shown["status"], shown["decided_by"]) == ({"amount": 42}, "pending", None)
    decided = await client.post(f"{APPROVALS}/{approval_id}:decide", json={"decision": "approve", "comment": "Go."})
    assert decided.status_code == 200, decided.text
    me = encode("usr", client.actor.user_id)
    assert (decided.json()["status"], decided.json()["decided_by"]) == ("approved", me)
    assert (decided.json()["comment"], decided.json()["decided_at"] is not None) == ("Go.", True)
    run = await until(client, run_id, "completed", "failed")
    assert run["output"] == {"approved": True, "by": me, "comment": "Go."}
    assert (await client.get(APPROVALS, params={"status": "pending"})).json()["data"] == []
    assert len((await client.get(APPROVALS, params={"status": "approved", "run_id": run_id})).json()["data"]) == 1


async def test_a_denial_fails_the_task_that_asked(client: Client) -> None:
    run_id, approval_id = await asked(client)
    answer = await client.post(f"{APPROVALS}/{approval_id}:decide", json={"decision": "deny"})
    assert answer.json()["status"] == "denied"
    run = await until(client, run_id, "completed", "failed")
    assert (run["status"], run["error"]["code"], run["error"]["path"]) == ("failed", "approval_denied", "ask")


async def test_the_same_decision_again_changes_nothing_and_another_one_is_refused(
    client: Client, database: Database, sign: Sign
) -> None:
    run_id, approval_id = await asked(client)
    path = f"{APPROVALS}/{approval_id}:decide"
    first = await client.post(path, json={"decision": "approve"})
    again = await client.post(path, json={"decision": "approve", "comment": "I mean it."})
    assert (again.status_code, again.json()) == (200, first.json())
    other = await client.post(path, json={"decision": "deny"})
    assert (other.status_code, other.json()["code"]) == (409, "approval_decided")
    someone = await colleague(database, sign, client.actor.organization_id, "developer")
    late = await someone.post(path, json={"decision": "approve"})
    assert (late.status_code, late.json()["code"]) == (409, "approval_decided")
    assert (await until(client, run_id, "completed"))["status"] == "completed"


async def test_of_many_who_decide_at_once_one_decides(client: Client, database: Database, sign: Sign) -> None:
    run_id, approval_id = await asked(client)
    people = [await colleague(database, sign, client.actor.organization_id, "developer") for _ in range(6)]
    answers = await asyncio.gather(
        *(
            person.post(f"{APPROVALS}/{approval_id}:decide", json={"decision": ("approve", "deny")[n % 2]})
            for n, person in enumerate(people)
        )
    )
    assert sorted(a.status_code for a in answers) == [200, 409, 409, 409, 409, 409]
    winner = next(a.json() for a in answers if a.status_code == 200)
    run = await until(client, run_id, "completed", "failed")
    assert run["status"] == ("completed" if winner["status"] == "approved" else "failed")


async def test_only_those_decide_who_were_asked_by_role(client: Client, database: Database, sign: Sign) -> None:
    _, approval_id = await asked(client, roles=["team_lead"])
    organization_id = client.actor.organization_id
    path = f"{APPROVALS}/{approval_id}:decide"
    for role in ("viewer", "developer", "accountant"):
        person = await colleague(database, sign, organization_id, role)
        refused = await person.post(path, json={"decision": "approve"})
        assert (refused.status_code, refused.json()["code"]) == (403, "approval_forbidden"), role
    assert (await client.get(f"{APPROVALS}/{approval_id}")).json()["status"] == "pending"
    lead = await colleague(database, sign, organization_id, "team_lead")
    assert (await lead.post(path, json={"decision": "approve"})).status_code == 200
    late = await (await colleague(database, sign, organization_id, "viewer")).post(path, json={"decision": "approve"})
    assert late.status_code == 403


async def test_only_those_decide_who_were_asked_by_id_or_address(
    client: Client, database: Database, sign: Sign
) -> None:
    organization_id = client.actor.organization_id
    for name in ("id", "address"):
        person = await colleague(database, sign, organization_id, "viewer")
        user_id = person.actor.user_id
        named = encode("usr", user_id) if name == "id" else f"{user_id}@EXAMPLE.com"
        _, approval_id = await asked(client, users=[named])
        path = f"{APPROVALS}/{approval_id}:decide"
        assert (await client.post(path, json={"decision": "approve"})).status_code == 403
        assert (await person.post(path, json={"decision": "approve"})).status_code == 200


async def test_another_organisations_people_do_not_even_see_the_question(client: Client, stranger: Client) -> None:
    """Abuse 34: 404 for what is another's, never 403."""
    _, approval_id = await asked(client)
    assert (await stranger.get(f"{APPROVALS}/{approval_id}")).status_code == 404
    decided = await stranger.post(f"{APPROVALS}/{approval_id}:decide", json={"decision": "approve"})
    assert (decided.status_code, decided.json()["code"]) == (404, "approval_not_found")
    assert (await client.get(f"{APPROVALS}/{approval_id}")).json()["status"] == "pending"


@pytest.mark.parametrize(("default", "status"), [("approve", "completed"), ("deny", "failed"), (None, "failed")])
async def test_after_the_deadline_the_default_decides(client: Client, default: str | None, status: str) -> None:
    config = {"deadline": 0.3} | ({"default": default} if default else {})
    run = await execute(client, asking(**config), wait=0)
    ended = await until(client, run["id"], "completed", "failed")
    assert ended["status"] == status
    found = (await client.get(APPROVALS, params={"run_id": run["id"]})).json()["data"]
    assert [(a["status"], a["default"], a["decided_by"]) for a in found] == [("expired", default, None)]
    late = await client.post(f"{APPROVALS}/{found[0]['id']}:decide", json={"decision": "approve"})
    assert (late.status_code, late.json()["code"]) == (409, "approval_decided")


@pytest.mark.parametrize("body", [{}, {"decision": "maybe"}, {"decision": "approve", "by": "me"}, {"decision": None}])
async def test_a_decision_says_yes_or_no(client: Client, body: dict[str, Any]) -> None:
    _, approval_id = await asked(client)
    assert (await client.post(f"{APPROVALS}/{approval_id}:decide", json=body)).status_code == 422
    assert (await client.get(f"{APPROVALS}/{approval_id}")).json()["status"] == "pending"


async def test_approvals_come_in_pages(client: Client) -> None:
    made = [(await asked(client))[1] for _ in range(3)]
    first = (await client.get(APPROVALS, params={"limit": 2})).json()
    rest = (await client.get(APPROVALS, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [a["id"] for a in first["data"] + rest["data"]] == made[::-1]


@pytest.mark.parametrize(
    ("asked_role", "role", "may"),
    [
        ("viewer", "team_lead", True),
        ("developer", "developer", True),
        ("team_lead", "developer", False),
        ("organization_owner", "team_lead", False),
        ("owner", "organization_owner", True),
        ("owner", "admin", True),
        ("admin", "organization_owner", True),
        ("accountant", "accountant", True),
        ("accountant", "admin", False),
        ("viewer", "accountant", False),
    ],
)
def test_a_role_is_asked_with_all_who_may_as_much_and_one_of_ones_own_alone(
    asked_role: str, role: str, may: bool
) -> None:
    """Merge 9: viewer in developer in team_lead; an owner and an admin may the same."""
    approval = ApprovalRow(roles=[asked_role], users=[])
    rights = ROLES.get(role, frozenset({"agent:read"}))
    person = Actor(organization_id=uuid7(), user_id=uuid7(), role=role, rights=rights)
    assert may_decide(approval, person, "ada@example.com") == may


async def test_a_role_in_a_team_counts_as_well(client: Client, database: Database, sign: Sign) -> None:
    _, approval_id = await asked(client, roles=["team_lead"])
    person = await colleague(database, sign, client.actor.organization_id, "viewer")
    own = f"/api/v1/organizations/{encode('org', client.actor.organization_id)}/teams"
    team = (await client.post(own, json={"name": "leads"})).json()["id"]
    place = f"{own}/{team}/members/{encode('usr', person.actor.user_id)}"
    assert (await client.put(place, json={"role": "team_lead"})).status_code == 200
    decided = await person.post(f"{APPROVALS}/{approval_id}:decide", json={"decision": "approve"})
    assert decided.status_code == 200


async def test_a_key_for_something_else_decides_nothing(client: Client, database: Database) -> None:
    """Scopes narrow, also what somebody is asked for by name."""
    _, approval_id = await asked(client, users=[encode("usr", client.actor.user_id)])
    made = await client.post("/api/v1/api-keys", json={"name": "reader", "scopes": ["workflow:read"]})
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    path = f"{APPROVALS}/{approval_id}:decide"
    assert (await client.post(path, json={"decision": "approve"}, headers=headers)).status_code == 403
    assert (await client.post(path, json={"decision": "approve"})).status_code == 200
