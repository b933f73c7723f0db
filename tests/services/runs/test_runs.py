"""Runs over HTTP: begun, waited for, watched, cancelled, decided."""

import asyncio
import json
from typing import Any

import pytest

from agent_factory.services.runs.schemas import RunOut, TurnOut
from tests.services.runs.conftest import Talker, deploy, events_of, talk
from tests.serving import Client


def calling(name: str, **more: Any) -> str:
    return json.dumps({"call": [{"name": name, "arguments": {"expression": "6*7"}}], **more})


async def until(client: Client, path: str, status: str) -> dict[str, Any]:
    """Wait until a run has a status."""
    while (run := (await client.get(path)).json())["status"] != status:  # noqa: ASYNC110 - nobody calls back
        await asyncio.sleep(0.02)
    return run


async def test_a_turn_is_answered_whole(talker: Talker) -> None:
    answer = await talker.say("hello")
    assert answer.status_code == 201
    turn = answer.json()
    assert turn["message"]["text"] == "You said: hello"
    assert turn["run"]["status"] == "completed"
    assert turn["run"]["session_id"] == talker.session
    assert answer.headers["location"] == f"/api/v1/runs/{turn['run']['id']}"


async def test_what_a_turn_answers_is_what_its_run_says_later(talker: Talker) -> None:
    """The quick answer is written without the schemas that describe it, so it is held against them."""
    turn = (await talker.say("hello")).json()
    TurnOut.model_validate(turn, strict=False)
    later = (await talker.client.get(f"/api/v1/runs/{turn['run']['id']}")).json()
    assert later == turn["run"]
    assert list(later) == list(RunOut.model_fields)


async def test_who_does_not_wait_gets_a_place_to_look(talker: Talker) -> None:
    answer = await talker.say(json.dumps({"delay": 0.3, "say": "later"}), wait=0)
    assert answer.status_code == 202
    assert answer.json()["message"] is None
    assert answer.json()["run"]["status"] == "running"
    run = await until(talker.client, answer.headers["location"], "completed")
    assert run["text"] == "later"


async def test_a_run_needs_no_session(client: Client) -> None:
    await deploy(client)
    answer = await client.post("/api/v1/runs", json={"agent": "helper", "input": "once"})
    assert answer.status_code == 201
    assert answer.json()["message"]["text"] == "You said: once"
    assert answer.json()["run"]["session_id"] is None


async def test_a_failed_turn_is_an_answer_with_a_typed_error(client: Client) -> None:
    """S62"""
    await deploy(client, retry={"attempts": 1})
    answer = await client.post("/api/v1/runs", json={"agent": "helper", "input": json.dumps({"status": 503})})
    assert answer.status_code == 201
    run = answer.json()["run"]
    assert (run["status"], run["error"]["code"]) == ("failed", "model_unavailable")
    assert (await client.get(answer.headers["location"])).json() == run


@pytest.mark.parametrize("how", ["accept", "body"])
async def test_a_turn_is_streamed_and_ends_with_its_answer(talker: Talker, how: str) -> None:
    body = {"content": json.dumps({"say": "one two three"}), "stream": how == "body"}
    headers = {"Accept": "text/event-stream"} if how == "accept" else {}
    answer = await talker.client.post(talker.messages, json=body, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert events[0][:2] == ("1.0", "run.started")
    assert "".join(data["text"] for _, name, data in events if name == "text.delta") == "one two three"
    assert events[-1][1] == "run.completed"
    assert events[-1][2]["text"] == "one two three"
    assert all(data["type"] == name for _, name, data in events)


async def test_an_ended_run_is_told_again_from_any_event_on(client: Client) -> None:
    talker = await talk(client, tools=["calculator"])
    turn = (await talker.say(calling("calculator", say="It is 42."))).json()
    path = f"/api/v1/runs/{turn['run']['id']}/events"
    whole = events_of((await client.get(path)).text)
    names = [name for _, name, _ in whole]
    assert names == ["run.started", "model.completed", "tool.completed", "model.completed", "run.completed"]
    for place, (last, _, _) in enumerate(whole):
        rest = events_of((await client.get(path, headers={"Last-Event-ID": last})).text)
        assert rest == whole[place + 1 :]
    bad = await client.get(path, headers={"Last-Event-ID": "three"})
    assert bad.status_code == 422


async def test_a_run_of_this_process_and_of_another_are_told_alike(client: Client, another_process: Client) -> None:
    talker = await talk(client, tools=["calculator"])
    begun = await talker.say(calling("calculator", say="It is 42.", delay=0.2), wait=0)
    path = f"{begun.headers['location']}/events"
    here, there = await asyncio.gather(client.get(path), another_process.get(path))
    facts = [e for e in events_of(here.text) if e[0].endswith(".0")]
    assert events_of(there.text) == facts
    assert facts[-1][1] == "run.completed"


async def test_a_caller_who_leaves_does_not_lose_the_turn(talker: Talker) -> None:
    leaving = asyncio.create_task(talker.say(json.dumps({"delay": 0.5, "say": "still here"})))
    runs: list[dict[str, Any]] = []
    while not runs:
        runs = (await talker.client.get("/api/v1/runs")).json()["data"]
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    run = await until(talker.client, f"/api/v1/runs/{runs[0]['id']}", "completed")
    assert run["text"] == "still here"


async def test_a_run_is_cancelled_in_any_process(talker: Talker, another_process: Client) -> None:
    for client in (talker.client, another_process):
        begun = await talker.say(json.dumps({"hang": True}), wait=0)
        answer = await client.post(f"{begun.headers['location']}:cancel")
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "cancelled"
        assert answer.json()["error"]["code"] == "run_cancelled"
        assert (await talker.say("next")).status_code == 201


async def test_an_ended_run_is_not_cancelled(talker: Talker) -> None:
    done = await talker.say("hello")
    answer = await talker.client.post(f"{done.headers['location']}:cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "run_ended")


@pytest.mark.parametrize(("decision", "content"), [("approve", "42"), ("deny", "A person refused this call.")])
async def test_a_run_waits_for_a_decision(client: Client, decision: str, content: str) -> None:
    talker = await talk(client, tools=[{"use": "calculator", "permission": "ask"}])
    asked = await talker.say(calling("calculator", say="Done."))
    assert asked.status_code == 202
    run = asked.json()["run"]
    assert run["status"] == "waiting"
    assert run["waiting_for"]["name"] == "calculator"
    path = asked.headers["location"]
    assert (await client.get(path)).json() == run
    assert (await talker.say("hurry")).json()["code"] == "session_busy"
    told = events_of((await client.get(f"{path}/events")).text)
    assert [name for _, name, _ in told] == ["run.started", "model.completed", "approval.requested"]
    decided = await client.post(f"{path}:resume", json={"decision": decision}, params={"wait": 10})
    assert decided.status_code == 200, decided.text
    assert decided.json()["status"] == "completed"
    steps = (await client.get(f"{path}/steps")).json()["data"]
    assert [s["kind"] for s in steps] == ["model", "approval", "tool", "model"]
    assert steps[2]["output"] == content
    rest = events_of((await client.get(f"{path}/events", headers={"Last-Event-ID": told[-1][0]})).text)
    assert [name for _, name, _ in rest] == ["tool.completed", "model.completed", "run.completed"]
    again = await client.post(f"{path}:resume", json={"decision": decision})
    assert (again.status_code, again.json()["code"]) == (409, "run_not_waiting")


async def test_steps_and_costs_are_shown(client: Client) -> None:
    """S98, S119"""
    talker = await talk(client, tools=["calculator"])
    turn = (await talker.say(calling("calculator", say="It is 42.", usage=[10, 5]))).json()
    path = f"/api/v1/runs/{turn['run']['id']}"
    first = (await client.get(f"{path}/steps", params={"limit": 2})).json()
    rest = (await client.get(f"{path}/steps", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    steps = first["data"] + rest["data"]
    assert [s["path"] for s in steps] == ["model/0", "tool/0/0", "model/1"]
    assert steps[1]["output"] == "42"
    cost = (await client.get(f"{path}/cost")).json()
    assert (cost["input_tokens"], cost["output_tokens"], cost["currency"]) == (20, 10, "USD")
    assert [(m["name"], m["calls"]) for m in cost["models"]] == [("double:echo", 2)]


async def test_runs_are_listed_and_filtered(talker: Talker) -> None:
    await talker.say("one")
    await talker.say("two")
    await talker.client.post("/api/v1/runs", json={"agent": "helper", "input": "three"})
    everything = (await talker.client.get("/api/v1/runs")).json()["data"]
    assert [r["input"]["parts"][0]["text"] for r in everything] == ["three", "two", "one"]
    of_session = (await talker.client.get("/api/v1/runs", params={"session_id": talker.session})).json()["data"]
    assert len(of_session) == 2
    page = (await talker.client.get("/api/v1/runs", params={"limit": 2})).json()
    more = (await talker.client.get("/api/v1/runs", params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [r["id"] for r in page["data"] + more["data"]] == [r["id"] for r in everything]
    assert (await talker.client.get("/api/v1/runs", params={"status": "failed"})).json()["data"] == []
    assert (await talker.client.get("/api/v1/runs", params={"status": "lost"})).status_code == 422


async def test_a_run_of_another_organisation_is_not_there(talker: Talker, stranger: Client) -> None:
    begun = await talker.say(json.dumps({"hang": True}), wait=0)
    path = begun.headers["location"]
    for suffix in ("", "/steps", "/events", "/cost"):
        assert (await stranger.get(path + suffix)).status_code == 404
    assert (await stranger.post(f"{path}:cancel")).status_code == 404
    assert (await stranger.post(f"{path}:resume", json={"decision": "approve"})).status_code == 404
    assert (await talker.client.get(path)).json()["status"] == "running"
    await talker.client.post(f"{path}:cancel")


async def test_a_repeated_request_makes_one_turn(talker: Talker) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await talker.client.post(talker.messages, json={"content": "hello"}, headers=headers)
    again = await talker.client.post(talker.messages, json={"content": "hello"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len((await talker.client.get(talker.messages)).json()["data"]) == 2


async def test_the_events_of_a_session_go_on_from_turn_to_turn(talker: Talker) -> None:
    first = (await talker.say("one")).json()["run"]["id"]
    path = f"/api/v1/sessions/{talker.session}/events"
    watching = asyncio.create_task(talker.client.get(path, headers={"Last-Event-ID": f"{first}/1.0"}))
    second = (await talker.say("two")).json()["run"]["id"]
    await asyncio.sleep(0.6)  # a watcher looks for the next turn now and then
    assert (await talker.client.delete(f"/api/v1/sessions/{talker.session}")).status_code == 204
    events = events_of((await watching).text)
    facts = [(at, name) for at, name, _ in events if at.endswith(".0")]
    assert (f"{first}/3.0", "run.completed") in facts
    assert (f"{second}/1.0", "run.started") in facts
    assert facts[-1] == (f"{second}/3.0", "run.completed")
