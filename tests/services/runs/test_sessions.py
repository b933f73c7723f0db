"""Conversations over HTTP (S59, S61)."""

import asyncio
import json

from agent_factory.database.session import Database
from agent_factory.kit import ids
from tests.services.runs.conftest import Talker, deploy, talk
from tests.serving import Client


async def test_a_conversation_is_made_read_renamed_and_listed(client: Client) -> None:
    agent = await deploy(client)
    made = await client.post("/api/v1/sessions", json={"agent": "helper", "title": "First", "metadata": {"a": "1"}})
    assert made.status_code == 201
    session = made.json()
    assert made.headers["location"] == f"/api/v1/sessions/{session['id']}"
    assert (session["agent_id"], session["title"], session["busy"]) == (agent, "First", False)
    patch = {"title": "Second", "metadata": {"a": None, "b": "2"}}
    changed = await client.patch(made.headers["location"], json=patch, headers={"If-Match": made.headers["etag"]})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["title"], changed.json()["metadata"]) == ("Second", {"b": "2"})
    lost = await client.patch(made.headers["location"], json=patch, headers={"If-Match": made.headers["etag"]})
    assert (lost.status_code, lost.json()["code"]) == (412, "precondition_failed")
    listed = await client.get("/api/v1/sessions", params={"agent_id": agent})
    assert [s["id"] for s in listed.json()["data"]] == [session["id"]]


async def test_messages_are_listed_oldest_first_and_in_pages(talker: Talker) -> None:
    for text in ("one", "two", "three"):
        assert (await talker.say(text)).status_code == 201
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": 4, **({"cursor": cursor} if cursor else {})}
        page = (await talker.client.get(talker.messages, params=params)).json()
        seen += [m["text"] for m in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert seen == ["one", "You said: one", "two", "You said: two", "three", "You said: three"]


async def test_renaming_a_conversation_does_not_disturb_the_next_turn(talker: Talker) -> None:
    await talker.say("one")
    renamed = await talker.client.patch(f"/api/v1/sessions/{talker.session}", json={"title": "New"})
    assert renamed.status_code == 200
    assert (await talker.say("two")).json()["message"]["text"] == "You said: two"


async def test_renaming_in_the_middle_of_a_turn_keeps_the_session_busy(talker: Talker) -> None:
    begun = await talker.say(json.dumps({"hang": True}), wait=0)
    renamed = await talker.client.patch(f"/api/v1/sessions/{talker.session}", json={"title": "New"})
    assert renamed.json()["busy"] is True
    refused = await talker.say("me too")
    assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
    await talker.client.post(f"{begun.headers['location']}:cancel")
    assert (await talker.say("now")).status_code == 201


async def test_a_deleted_conversation_leaves_no_word_of_it(talker: Talker, database: Database) -> None:
    """S57: messages, steps, inputs and outputs go with the session; what it cost stays."""
    said = "a very particular word: xyzzy"
    run = (await talker.say(said)).json()["run"]
    gone = await talker.client.delete(f"/api/v1/sessions/{talker.session}")
    assert gone.status_code == 204
    assert (await talker.client.get(f"/api/v1/sessions/{talker.session}")).status_code == 404
    assert (await talker.say("anyone?")).status_code == 404
    kept = (await talker.client.get(f"/api/v1/runs/{run['id']}")).json()
    assert kept["status"] == "completed"
    assert kept["input_tokens"] == run["input_tokens"]
    organization = talker.client.actor.organization_id
    for table in ("messages", "runs", "run_steps", "sessions"):
        rows = await database.pool.fetch(f"select t::text from {table} t where organization_id = $1", organization)  # noqa: S608 - fixed names
        assert "xyzzy" not in str([row["t"] for row in rows])


async def test_deleting_a_conversation_cancels_its_turn(talker: Talker) -> None:
    begun = await talker.say(json.dumps({"hang": True}), wait=0)
    assert (await talker.client.delete(f"/api/v1/sessions/{talker.session}")).status_code == 204
    assert (await talker.client.get(begun.headers["location"])).json()["status"] == "cancelled"


async def test_of_two_messages_at_once_one_is_refused(talker: Talker) -> None:
    slow = json.dumps({"delay": 0.3, "say": "done"})
    answers = await asyncio.gather(talker.say(slow), talker.say(slow))
    assert sorted(a.status_code for a in answers) == [201, 409]


async def test_the_conversation_goes_on_in_another_process(talker: Talker, another_process: Client) -> None:
    await talker.say("one")
    there = await another_process.post(talker.messages, json={"content": "two"})
    assert there.json()["message"]["text"] == "You said: two"
    assert (await talker.say("three")).status_code == 201
    listed = (await another_process.get(talker.messages)).json()["data"]
    assert [m["text"] for m in listed if m["role"] == "user"] == ["one", "two", "three"]


async def test_a_conversation_of_another_organisation_is_not_there(talker: Talker, stranger: Client) -> None:
    await talker.say("mine")
    assert (await stranger.get(talker.messages)).status_code == 404
    assert (await stranger.post(talker.messages, json={"content": "hi"})).status_code == 404
    assert (await stranger.get(f"/api/v1/sessions/{talker.session}/events")).status_code == 404
    assert (await stranger.delete(f"/api/v1/sessions/{talker.session}")).status_code == 404


async def test_a_session_needs_an_agent_that_is_there(client: Client) -> None:
    assert (await client.post("/api/v1/sessions", json={"agent": "nobody"})).status_code == 404
    assert (await client.post("/api/v1/sessions", json={"agent": "agt_" + "0" * 26})).status_code == 404


async def test_a_draft_is_talked_to_only_when_asked_for(client: Client) -> None:
    await client.create_agent("draft", model="double:echo")
    session = (await client.post("/api/v1/sessions", json={"agent": "draft"})).json()["id"]
    path = f"/api/v1/sessions/{session}/messages"
    refused = await client.post(path, json={"content": "hi"})
    assert (refused.status_code, refused.json()["code"]) == (409, "agent_not_deployed")
    tried = await client.post(path, json={"content": "hi", "version": "latest"})
    assert tried.status_code == 201, tried.text


async def test_a_new_deployment_counts_from_the_next_message_on(client: Client) -> None:
    """A version that another process still remembers is not used any more."""
    talker = await talk(client)
    assert (await talker.say("hi")).json()["run"]["agent_version"] == 1
    for number in (2, 3, 4):
        agent = f"/api/v1/agents/{talker.agent}"
        assert (await client.patch(agent, json={"instructions": f"number {number}"})).status_code == 200
        assert (await client.post(f"{agent}:deploy", json={})).status_code == 200
        assert (await talker.say("hi")).json()["run"]["agent_version"] == number
    assert (await client.post(f"/api/v1/agents/{talker.agent}:pause", json={})).status_code == 200
    assert (await talker.say("hi")).json()["code"] == "agent_not_deployed"


async def test_bad_bodies_are_refused_with_their_pointer(talker: Talker) -> None:
    cases = [
        ({}, "/content"),
        ({"content": ""}, "/content"),
        ({"content": []}, "/content"),
        ({"content": 7}, "/content"),
        ({"content": [{"type": "tool_call", "name": "x"}]}, "/content"),
        ({"content": "hi", "run_id": "x"}, "/run_id"),
        ({"content": "hi", "version": 0}, "/version"),
        ({"content": "hi", "stream": "perhaps"}, "/stream"),
    ]
    for body, pointer in cases:
        answer = await talker.client.post(talker.messages, json=body)
        assert answer.status_code == 422, body
        assert any(e["pointer"].startswith(pointer) for e in answer.json()["errors"]), answer.text
    assert (await talker.client.get(talker.messages)).json()["data"] == []


async def test_a_huge_message_is_refused(talker: Talker) -> None:
    answer = await talker.say("x" * 2_000_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_parts_are_taken(talker: Talker) -> None:
    content = [{"type": "text", "text": "look: "}, {"type": "text", "text": "here"}]
    answer = await talker.client.post(talker.messages, json={"content": content})
    assert answer.status_code == 201, answer.text
    listed = (await talker.client.get(talker.messages)).json()["data"]
    assert listed[0]["text"] == "look: here"
    assert [p["type"] for p in listed[0]["parts"]] == ["text", "text"]


async def test_a_session_without_an_agent_says_so(client: Client, database: Database) -> None:
    session = ids.uuid7()
    await database.pool.execute(
        "insert into sessions (id, organization_id) values ($1, $2)", session, client.actor.organization_id
    )
    answer = await client.post(f"/api/v1/sessions/{ids.encode('ses', session)}/messages", json={"content": "hi"})
    assert (answer.status_code, answer.json()["code"]) == (409, "session_has_no_agent")
