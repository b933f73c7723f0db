"""Runs begun once more from one of their tasks, and what is different then."""

from typing import Any

import pytest

from tests.doubles.fixtures import ModelServer
from tests.services.workflows.parts import ask, execute, faults, pure, says, workflow
from tests.serving import Client

CHAIN = workflow(
    ask("first", next=["second"]), ask("second", next=["third"]), pure("third", "{{ second.output.text }}!")
)


async def fork(client: Client, run: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await client.post(f"/api/v1/runs/{run['id']}:fork", json=body, params={"wait": 30})
    assert answer.status_code == 201, answer.text
    assert answer.json()["forked_from"] == run["id"]
    return answer.json()


async def test_a_fork_does_only_its_task_again_and_what_follows(client: Client, model_server: ModelServer) -> None:
    run = await execute(client, CHAIN, {"first": says("a", "fork-1"), "second": says("b", "fork-2")})
    forked = await fork(client, run, **{"from": "second"})
    assert (forked["status"], forked["output"], forked["trigger"]) == ("completed", "b!", "fork")
    assert (await model_server.calls("fork-1"))["calls"] == 1
    assert (await model_server.calls("fork-2"))["calls"] == 2
    assert (await client.get(f"/api/v1/runs/{run['id']}")).json() == run
    listed = (await client.get("/api/v1/runs", params={"forked_from": run["id"]})).json()["data"]
    assert [r["id"] for r in listed] == [forked["id"]]


async def test_a_fork_may_have_another_input(client: Client, model_server: ModelServer) -> None:
    run = await execute(client, CHAIN, {"first": says("a", "input-1"), "second": says("b")})
    forked = await fork(client, run, **{"from": "second"}, input={"second": says("c")})
    assert (forked["output"], forked["input"]) == ("c!", {"second": says("c")})
    assert (await model_server.calls("input-1"))["calls"] == 1


async def test_a_fork_may_have_another_prompt_or_model(client: Client, model_server: ModelServer) -> None:
    run = await execute(client, CHAIN, {"first": says("a"), "second": says("b")})
    prompted = await fork(client, run, **{"from": "second"}, changes={"prompt": says("other", "other-prompt")})
    assert prompted["output"] == "other!"
    modelled = await fork(client, run, **{"from": "second"}, changes={"model": "demo"})
    assert modelled["status"] == "completed"
    assert modelled["output"] != "b!"
    patched = await fork(client, run, **{"from": "third"}, changes={"config": {"value": "patched"}})
    assert patched["output"] == "patched"
    assert (await model_server.calls("other-prompt"))["calls"] == 1


async def test_a_fork_may_give_an_agent_another_model_or_message(client: Client) -> None:
    agent = await client.create_agent("helper", model="double:echo")
    await client.post(f"/api/v1/agents/{agent['id']}:deploy")
    task = {"id": "answer", "type": "agent", "config": {"agent": "helper", "message": "{{ input.message }}"}}
    run = await execute(client, workflow(task, output="{{ answer.output.text }}"), {"message": "hello"})
    assert run["output"] == "You said: hello"
    asked = await fork(client, run, **{"from": "answer"}, changes={"prompt": "good day"})
    assert asked["output"] == "You said: good day"
    other = await fork(client, run, **{"from": "answer"}, changes={"model": "double:fixed"})
    assert other["status"] == "completed"
    assert other["output"] != run["output"]


async def test_a_fork_may_have_a_whole_other_definition(client: Client, model_server: ModelServer) -> None:
    agent = await client.create_agent("helper", model="double:echo")
    await client.post(f"/api/v1/agents/{agent['id']}:deploy")
    run = await execute(client, CHAIN, {"first": says("a", "whole-1"), "second": says("b")})
    answer = {"id": "answer", "type": "agent", "config": {"agent": "helper", "message": "{{ first.output.text }}"}}
    definition = workflow(ask("first", next=["answer"]), answer, output="{{ answer.output.text }}")
    forked = await fork(client, run, **{"from": "answer"}, changes={"definition": definition})
    assert forked["output"] == "You said: a"
    assert forked["workflow_version"] is None
    # the task's ways out are part of it, so a task with another `next` is another task
    assert (await model_server.calls("whole-1"))["calls"] == 2


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/from"),
        ({"from": "nowhere"}, "/from"),
        ({"from": "nowhere", "changes": {"prompt": "x"}}, "/from"),
        ({"from": "third", "changes": {"prompt": "x"}}, "/changes/prompt"),
        ({"from": "third", "changes": {"model": "demo"}}, "/changes/model"),
        ({"from": "second", "changes": {"model": "nobody:knows"}}, "/changes/model"),
        ({"from": "second", "changes": {"prompt": "{{ nobody.output }}"}}, "/changes"),
        ({"from": "second", "changes": {"definition": {"name": "x"}}}, "/changes/definition/tasks"),
        ({"from": "second", "changes": {"prompt": "x", "definition": {}}}, "/changes"),
        ({"from": "second", "changes": {"secret": "x"}}, "/changes/secret"),
        ({"from": "second", "priority": "high"}, "/priority"),
    ],
)
async def test_a_fork_that_cannot_be_made_is_refused_by_pointer(
    client: Client, body: dict[str, Any], pointer: str
) -> None:
    run = await execute(client, CHAIN, {"first": says("a"), "second": says("b")})
    refused = await client.post(f"/api/v1/runs/{run['id']}:fork", json=body)
    assert pointer in faults(refused)
    assert len((await client.get("/api/v1/runs")).json()["data"]) == 1


async def test_a_forks_input_has_to_fit(client: Client) -> None:
    schema = {"type": "object", "required": ["n"]}
    run = await execute(client, workflow(pure("a", "{{ input.n }}"), input=schema), {"n": 1})
    refused = await client.post(f"/api/v1/runs/{run['id']}:fork", json={"from": "a", "input": {}})
    assert (refused.json()["code"], set(faults(refused))) == ("input_invalid", {"/input"})


async def test_one_key_forks_once(client: Client) -> None:
    run = await execute(client, workflow(pure("a", 1)))
    headers = {"Idempotency-Key": "fork-once"}
    path = f"/api/v1/runs/{run['id']}:fork"
    first = await client.post(path, json={"from": "a"}, headers=headers)
    again = await client.post(path, json={"from": "a"}, headers=headers)
    assert first.json()["id"] == again.json()["id"]


async def test_two_runs_are_compared_task_by_task(client: Client) -> None:
    run = await execute(client, CHAIN, {"first": says("a"), "second": says("b")})
    forked = await fork(client, run, **{"from": "second"}, changes={"prompt": says("other")})
    path = f"/api/v1/runs/{run['id']}/diff"
    diff = (await client.get(path, params={"with": forked["id"]})).json()
    assert (diff["same_definition"], diff["same_input"], diff["same_output"]) == (False, True, False)
    assert [(t["path"], t["same"]) for t in diff["data"]] == [("first", True), ("second", False), ("third", False)]
    third = diff["data"][2]
    assert (third["before"]["output"], third["after"]["output"]) == ("b!", "other!")
    assert (third["type"], third["before"]["status"]) == ("transform", "completed")
    changed = (await client.get(path, params={"with": forked["id"], "changed": True})).json()
    assert [t["path"] for t in changed["data"]] == ["second", "third"]
    same = (await client.get(path, params={"with": run["id"]})).json()
    assert all(t["same"] for t in same["data"])


async def test_tasks_that_only_one_run_has_stand_in_a_diff_too_and_pages_hold_them_all(client: Client) -> None:
    one = await execute(client, workflow(*(pure(f"a{n}", n) for n in range(1)), pure("both", 1, depends_on=["a0"])))
    other = await execute(client, workflow(pure("both", 2, next=["b0"]), pure("b0", 1)))
    seen: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await client.get(f"/api/v1/runs/{one['id']}/diff", params={"with": other["id"], "limit": 1, **cursor})
        seen += page.json()["data"]
        if not page.json()["has_more"]:
            break
        cursor = {"cursor": page.json()["next_cursor"]}
    sides = {t["path"]: (t["before"] is not None, t["after"] is not None) for t in seen}
    assert sides == {"a0": (True, False), "both": (True, True), "b0": (False, True)}
    assert len(seen) == 3


async def test_another_organisations_run_is_not_compared(client: Client, stranger: Client) -> None:
    """Abuse 35"""
    mine = await execute(client, workflow(pure("a", 1)))
    theirs = await execute(stranger, workflow(pure("a", 1)))
    answer = await client.get(f"/api/v1/runs/{mine['id']}/diff", params={"with": theirs["id"]})
    assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")
