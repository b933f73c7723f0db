"""Agents over HTTP: made, read, changed, listed; every change is a version that stays (S55, S63-S66)."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from agent_factory.database.session import Database
from tests.serving import Client

PATH = "/api/v1/agents"

FULL: dict[str, Any] = {
    "name": "support",
    "description": "Answers customers.",
    "model": "demo",
    "instructions": "Be kind.",
    "tools": ["calculator", {"use": "current_time", "permission": "ask"}],
    "memory": {"type": "window", "max_tokens": 2000},
    "guardrails": [{"use": "pii"}, {"use": "secrets", "on": ["output"], "action": "redact"}],
    "output": {"type": "object", "properties": {"answer": {"type": "string"}}},
    "limits": {"steps": 5, "usd": "0.50"},
    "metadata": {"team": "blue"},
}


async def test_an_agent_is_a_draft_with_version_one(client: Client) -> None:
    made = await client.post(PATH, json=FULL)
    assert made.status_code == 201
    agent = made.json()
    assert agent["status"] == "draft"
    assert (agent["latest_version"], agent["deployed_version"], agent["revision"]) == (1, None, 1)
    assert agent["definition"] == FULL
    assert agent["created_by"].startswith("usr_")
    assert agent["created_at"].endswith("Z")
    assert made.headers["location"] == f"{PATH}/{agent['id']}"
    assert made.headers["etag"] == '"1"'
    read = await client.get(made.headers["location"])
    assert read.json() == agent
    assert read.headers["etag"] == made.headers["etag"]


async def test_defaults_are_not_written_into_a_definition(client: Client) -> None:
    agent = await client.create_agent(instructions="")
    assert agent["definition"] == {"name": "support", "model": "demo"}


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": None}, "/name"),
    "a bad name": ({"name": "Not A Name"}, "/name"),
    "an unknown field": ({"org_id": "x"}, "/org_id"),
    "an unknown vendor": ({"model": "zork:model"}, "/model"),
    "a number as text": ({"limits": {"steps": "5"}}, "/limits/steps"),
    "a truth value as number": ({"limits": {"steps": True}}, "/limits/steps"),
    "steps below one": ({"limits": {"steps": 0}}, "/limits/steps"),
    "an unknown tool": ({"tools": ["calculator", "nope"]}, "/tools/1"),
    "unknown settings of a tool": ({"tools": [{"use": "calculator", "config": {"x": 1}}]}, "/tools/0/config"),
    "a tool twice": ({"tools": ["calculator", "calculator"]}, "/tools/1"),
    "an unknown rule": ({"guardrails": ["nope"]}, "/guardrails/0/use"),
    "a broken output schema": ({"output": {"type": "nope"}}, "/output"),
    "an agent that is not there": (
        {"tools": [{"use": "agent", "config": {"agent": "ghost"}}]},
        "/tools/0/config/agent",
    ),
    "itself as its own tool": ({"tools": [{"use": "agent", "config": {"agent": "support"}}]}, "/tools/0/config/agent"),
}


@pytest.mark.parametrize(("change", "pointer"), FAULTS.values(), ids=FAULTS.keys())
async def test_every_fault_has_its_pointer_and_nothing_is_made(
    client: Client, change: dict[str, Any], pointer: str
) -> None:
    """S63: 422, a JSON pointer an error."""
    answer = await client.post(PATH, json={"name": "support", "model": "demo", **change})
    assert answer.status_code == 422, answer.text
    assert any(e["pointer"].startswith(pointer) for e in answer.json()["errors"]), answer.text
    assert (
        await client.post(f"{PATH}:validate", json={"name": "support", "model": "demo", **change})
    ).status_code == 422
    assert (await client.get(PATH)).json()["data"] == []


@pytest.mark.parametrize("body", ["x", 1, [], None, True])
async def test_a_definition_that_is_no_object_is_422(client: Client, body: object) -> None:
    assert (await client.post(PATH, json=body)).status_code == 422


async def test_a_name_is_taken_once_in_an_organisation(client: Client, stranger: Client) -> None:
    agent = await client.create_agent()
    taken = await client.post(PATH, json={"name": "support", "model": "demo"})
    assert taken.status_code == 409
    assert "choose another name" in taken.json()["detail"]
    await stranger.create_agent()
    other = await client.create_agent("sales")
    renamed = await client.patch(f"{PATH}/{other['id']}", json={"name": "support"})
    assert renamed.status_code == 409
    await client.delete(f"{PATH}/{agent['id']}")
    assert (await client.patch(f"{PATH}/{other['id']}", json={"name": "support"})).status_code == 200


async def test_a_merge_patch_makes_a_new_version(client: Client) -> None:
    agent = (await client.post(PATH, json=FULL)).json()
    path = f"{PATH}/{agent['id']}"
    change = {"instructions": "Be brief.", "memory": None, "limits": {"steps": 7}, "description": "Shorter."}
    changed = await client.patch(path, json=change)
    assert changed.status_code == 200
    assert changed.json()["latest_version"] == 2
    assert changed.json()["description"] == "Shorter."
    expected = {**FULL, "instructions": "Be brief.", "description": "Shorter.", "limits": {"steps": 7, "usd": "0.50"}}
    del expected["memory"]
    assert changed.json()["definition"] == expected
    assert changed.headers["etag"] == '"2"'


async def test_a_merge_patch_is_read_under_its_own_media_type(client: Client) -> None:
    agent = await client.create_agent()
    changed = await client.patch(
        f"{PATH}/{agent['id']}",
        content=b'{"instructions": "x"}',
        headers={"content-type": "application/merge-patch+json"},
    )
    assert changed.status_code == 200


async def test_a_patch_without_a_difference_makes_no_version(client: Client) -> None:
    agent = await client.create_agent(instructions="x")
    for body in ({}, {"instructions": "x"}, {"metadata": {}}):
        same = await client.patch(f"{PATH}/{agent['id']}", json=body)
        assert same.json() == agent


async def test_a_patch_that_breaks_the_definition_changes_nothing(client: Client) -> None:
    agent = await client.create_agent()
    answer = await client.patch(f"{PATH}/{agent['id']}", json={"limits": {"steps": 0}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/limits/steps"
    assert (await client.get(f"{PATH}/{agent['id']}")).json() == agent


async def test_versions_stay_as_they_were(client: Client) -> None:
    agent = await client.create_agent(instructions="one")
    path = f"{PATH}/{agent['id']}"
    await client.put(path, json={"name": "support", "model": "demo", "instructions": "two"})
    third = await client.post(f"{path}/versions", json={"name": "support", "model": "demo", "instructions": "three"})
    assert third.status_code == 201
    assert third.headers["location"] == f"{path}/versions/3"
    listed = (await client.get(f"{path}/versions")).json()["data"]
    assert [v["number"] for v in listed] == [3, 2, 1]
    assert len({v["digest"] for v in listed}) == 3
    words = [(await client.get(f"{path}/versions/{n}")).json()["definition"]["instructions"] for n in (1, 2, 3)]
    assert words == ["one", "two", "three"]


async def test_a_version_cannot_be_changed_even_by_statement(client: Client, database: Database) -> None:
    await client.create_agent()
    for statement in ("update agent_versions set number = 9", "update agent_versions set definition = '{}'"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            await _execute(database, client, statement)


@pytest.mark.parametrize("number", ["0", "2", "99999999999", "-1", "x", "1.5"])
async def test_a_version_that_is_not_there_is_refused(client: Client, number: str) -> None:
    agent = await client.create_agent()
    answer = await client.get(f"{PATH}/{agent['id']}/versions/{number}")
    assert answer.status_code in (404, 422)


async def test_agents_come_in_pages_newest_first_and_by_name_and_status(client: Client) -> None:
    """Keyset pages: what is added meanwhile moves nothing."""
    for n in range(5):
        await client.create_agent(f"a{n}")
    first = (await client.get(PATH, params={"limit": 2})).json()
    await client.create_agent("later")
    second = (await client.get(PATH, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    third = (await client.get(PATH, params={"limit": 2, "cursor": second["next_cursor"]})).json()
    assert [a["name"] for page in (first, second, third) for a in page["data"]] == ["a4", "a3", "a2", "a1", "a0"]
    assert (third["next_cursor"], third["has_more"]) == (None, False)
    assert [a["name"] for a in (await client.get(PATH, params={"name": "a2"})).json()["data"]] == ["a2"]
    chosen = (await client.get(PATH, params={"name": "a2"})).json()["data"][0]
    await client.delete(f"{PATH}/{chosen['id']}")
    assert (await client.get(PATH, params={"name": "a2"})).json()["data"] == []
    archived = (await client.get(PATH, params={"status": "archived"})).json()["data"]
    assert [a["name"] for a in archived] == ["a2"]
    assert (await client.get(PATH, params={"status": "gone"})).status_code == 422


async def test_lists_carry_no_definitions(client: Client) -> None:
    await client.create_agent(instructions="long")
    assert "definition" not in (await client.get(PATH)).json()["data"][0]


async def test_create_with_an_id_makes_no_update(client: Client) -> None:
    """Abuse 40."""
    agent = await client.create_agent()
    again = await client.post(PATH, json={"id": agent["id"], "name": "other", "model": "demo"})
    assert again.status_code == 422
    assert (await client.get(f"{PATH}/{agent['id']}")).json() == agent


async def test_text_of_every_script_and_sort_comes_back_as_it_was(client: Client) -> None:
    words = "שלום 你好 🙂 \u202e \\u0000 ' OR 1=1-- <b> ${x} {{y}} \n\t" + "x" * 10_000
    agent = await client.create_agent(instructions=words)
    assert (await client.get(f"{PATH}/{agent['id']}")).json()["definition"]["instructions"] == words


async def _execute(database: Database, client: Client, statement: str) -> None:
    async with database.write(client.actor.organization_id) as session:
        await session.execute(text(statement))
