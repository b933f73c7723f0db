"""Runs of workflows: looked at, watched, ended, and let go on (S86, S96, S98)."""

import asyncio
import json
from typing import Any

import pytest

from tests.doubles.fixtures import ModelServer
from tests.services.runs.conftest import events_of
from tests.services.workflows.parts import approval, ask, create, execute, pure, says, workflow
from tests.serving import Client

CHAIN = workflow(
    ask("first", next=["second"]), ask("second", next=["third"]), pure("third", "{{ second.output.text }}!")
)


def failing(key: str, times: int = 1) -> str:
    """A prompt that the model server refuses so often, for good, before it answers."""
    return json.dumps({"say": "at last", "fail": {"key": key, "times": times, "status": 400}})


async def steps(client: Client, run_id: str) -> dict[str, dict[str, Any]]:
    found = (await client.get(f"/api/v1/runs/{run_id}/steps", params={"limit": 100})).json()["data"]
    return {step["path"]: step for step in found}


async def test_every_task_has_a_row_that_says_how_it_ended(client: Client) -> None:
    choose = {
        "id": "choose",
        "type": "conditional",
        "config": {"conditions": [{"if": "{{ input.n > 1 }}", "then": "each"}], "default": "nothing"},
    }
    each = {
        "id": "each",
        "type": "map",
        "config": {"items": "{{ range(input.n) }}", "as": "n", "tasks": [pure("twice", "{{ n * 2 }}")]},
    }
    run = await execute(client, workflow(choose, each, pure("nothing", 0)), {"n": 3})
    assert (run["status"], run["output"]) == ("completed", {"each": [0, 2, 4]}), run
    found = await steps(client, run["id"])
    assert next(iter(found)) == "choose"
    assert (found["choose"]["type"], found["choose"]["targets"]) == ("conditional", ["each"])
    one = found["each[2]/twice"]
    assert (one["task"], one["type"], one["status"], one["output"]) == ("twice", "transform", "completed", 4)
    assert (one["attempts"], one["error"], one["is_error"]) == (1, None, False)
    assert one["duration_ms"] >= 0
    assert found["each"]["output"] == [0, 2, 4]


async def test_attempts_at_a_task_are_counted_and_shown(client: Client, model_server: ModelServer) -> None:
    """S88"""
    key = "attempts-are-counted"
    retry = {
        "attempts": 3,
        "backoff": 0,
        "on": ["invalid", "upstream", "model_refused", "model_rejected", "model_invalid"],
    }
    task = {**ask("first"), "retry": retry}
    run = await execute(client, workflow(task), {"first": failing(key, 2)})
    found = await steps(client, run["id"])
    assert run["status"] == "completed", run
    assert found["first"]["attempts"] == 3
    assert [found[f"first#{n}"]["attempts"] for n in (1, 2)] == [1, 2]
    assert found["first#1"]["status"] == "failed"
    assert found["first#1"]["error"]["path"] == "first"
    assert (await model_server.calls(key))["calls"] == 3


async def test_a_large_value_is_shown_by_its_beginning_and_read_whole_by_its_path(client: Client) -> None:
    large = "x" * 50_000
    definition = workflow(pure("small", "y" * 5_000, next=["big"]), pure("big", "{{ input.text }}"))
    run = await execute(client, definition, {"text": large})
    assert run["output"]["bytes"] > 50_000
    assert run["output"]["$preview"].startswith('"xxx')
    assert (await client.get(f"/api/v1/runs/{run['id']}/output")).json() == large
    found = await steps(client, run["id"])
    for name, size in (("small", 5_002), ("big", 50_002)):
        assert found[name]["output"]["bytes"] == size
        assert len(found[name]["output"]["$preview"]) <= 2_000
    path = f"/api/v1/runs/{run['id']}/steps"
    assert (await client.get(f"{path}/big")).json() == {**found["big"], "output": large, "input": found["big"]["input"]}
    assert (await client.get(f"{path}/small")).json()["output"] == "y" * 5_000


async def test_the_items_of_a_large_list_are_read_by_their_paths(client: Client) -> None:
    each = {
        "id": "each",
        "type": "map",
        "config": {"items": [1, 2], "as": "n", "tasks": [pure("copy", "{{ input.text }}{{ n }}")]},
    }
    run = await execute(client, workflow(each), {"text": "x" * 40_000})
    path = f"/api/v1/runs/{run['id']}/steps"
    assert (await client.get(f"{path}/each[1]/copy")).json()["output"] == "x" * 40_000 + "2"
    whole = (await client.get(f"{path}/each")).json()["output"]
    assert whole == ["x" * 40_000 + "1", "x" * 40_000 + "2"]
    assert (await client.get(f"/api/v1/runs/{run['id']}/output")).json() == whole


async def test_a_value_that_only_looks_stored_is_shown_as_it_is(client: Client) -> None:
    odd = {"$payload": "memory-0", "bytes": 5}
    run = await execute(client, workflow(pure("a", "{{ input }}")), odd)
    assert run["output"] == odd
    assert (await client.get(f"/api/v1/runs/{run['id']}/output")).json() == odd
    assert (await steps(client, run["id"]))["a"]["output"] == odd
    forged = {"$payload": "0" * 64, "bytes": 5}
    run = await execute(client, workflow(pure("a", "{{ input }}")), forged)
    gone = await client.get(f"/api/v1/runs/{run['id']}/output")
    assert (gone.status_code, gone.json()["code"]) == (404, "value_gone")


async def test_steps_that_were_never_made_are_not_there(client: Client) -> None:
    run = await execute(client, workflow(pure("a", 1)))
    for path in ("b", "a/b", "a[0]", "a%2Fb", "a'--"):
        answer = await client.get(f"/api/v1/runs/{run['id']}/steps/{path}")
        assert answer.status_code in (404, 405), path
    waiting = await execute(client, workflow(approval()))
    early = await client.get(f"/api/v1/runs/{waiting['id']}/output")
    assert (early.status_code, early.json()["code"]) == (409, "run_has_no_output")


async def test_an_ended_run_is_told_again_from_any_event_on(client: Client) -> None:
    run = await execute(client, CHAIN, {"first": says("a"), "second": says("b")})
    path = f"/api/v1/runs/{run['id']}/events"
    whole = events_of((await client.get(path)).text)
    names = [name for _, name, _ in whole]
    assert names[0] == "run.started"
    assert [data["path"] for _, name, data in whole if name == "task.completed"] == ["first", "second", "third"]
    assert (names[-1], whole[-1][2]["output"]) == ("run.completed", "b!")
    assert len({at for at, _, _ in whole}) == len(whole)
    for place, (last, _, _) in enumerate(whole):
        rest = events_of((await client.get(path, headers={"Last-Event-ID": last})).text)
        assert rest == whole[place + 1 :]
    assert (await client.get(path, headers={"Last-Event-ID": "three"})).status_code == 422


async def test_a_watcher_who_comes_early_sees_the_run_to_its_end(client: Client) -> None:
    run = await execute(client, workflow(approval(after="last"), pure("last", "done")))
    path = f"/api/v1/runs/{run['id']}/events"
    watching = asyncio.create_task(client.get(path))
    await client.post(f"/api/v1/approvals/{run['waits'][0]['approval_id']}:decide", json={"decision": "approve"})
    events = events_of((await watching).text)
    assert events[-1][1] == "run.completed"
    completed = [data["path"] for _, name, data in events if name == "task.completed"]
    assert completed == ["ask", "last"]


async def test_a_waiting_run_shows_what_it_waits_for(client: Client) -> None:
    ways = {
        "id": "ways",
        "type": "parallel",
        "config": {
            "branches": {
                "people": [approval()],
                "time": [{"id": "later", "type": "wait", "config": {"seconds": 3600}}],
                "news": [{"id": "paid", "type": "wait", "config": {"event": {"type": "order.paid"}}}],
            }
        },
    }
    run = await execute(client, workflow(ways))
    assert (run["status"], run["output"], run["completed_at"]) == ("waiting", None, None)
    waits = {wait["kind"]: wait for wait in run["waits"]}
    assert set(waits) == {"approval", "timer", "event"}
    assert waits["approval"]["approval_id"].startswith("apr_")
    assert waits["timer"]["wake_at"].endswith("Z")
    assert waits["event"]["event_type"] == "order.paid"
    listed = (await client.get("/api/v1/runs", params={"status": "waiting"})).json()["data"]
    assert listed == [run]


async def test_a_run_is_cancelled_once(client: Client) -> None:
    run = await execute(client, workflow(approval()))
    cancelled = await client.post(f"/api/v1/runs/{run['id']}:cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["error"]["code"] == "run_cancelled"
    assert cancelled.json()["waits"] == []
    approvals = (await client.get("/api/v1/approvals", params={"run_id": run["id"]})).json()["data"]
    assert [a["status"] for a in approvals] == ["cancelled"]
    assert (await client.post(f"/api/v1/runs/{run['id']}:cancel")).status_code == 200
    done = await execute(client, workflow(pure("a", 1)))
    late = await client.post(f"/api/v1/runs/{done['id']}:cancel")
    assert (late.status_code, late.json()["code"]) == (409, "run_ended")


@pytest.mark.parametrize("verb", ["retry", "resume"])
async def test_a_failed_run_goes_on_from_the_task_that_failed(
    client: Client, model_server: ModelServer, verb: str
) -> None:
    """S86"""
    before, broken = f"before-{verb}", f"broken-{verb}"
    run = await execute(client, CHAIN, {"first": says("a", before), "second": failing(broken)})
    assert (run["status"], run["error"]["path"]) == ("failed", "second")
    answer = await client.post(f"/api/v1/runs/{run['id']}:{verb}", params={"wait": 30})
    assert (answer.status_code, answer.json()["status"], answer.json()["output"]) == (200, "completed", "at last!")
    assert (await model_server.calls(before))["calls"] == 1
    assert (await model_server.calls(broken))["calls"] == 2
    again = await client.post(f"/api/v1/runs/{run['id']}:{verb}")
    assert (again.status_code, again.json()["code"]) == (409, "run_not_failed" if verb == "retry" else "run_ended")


async def test_a_cancelled_run_goes_on_where_it_was_but_is_not_retried(client: Client) -> None:
    run = await execute(client, workflow(approval(after="last"), pure("last", "done")))
    await client.post(f"/api/v1/runs/{run['id']}:cancel")
    assert (await client.post(f"/api/v1/runs/{run['id']}:retry")).json()["code"] == "run_not_failed"
    resumed = await client.post(f"/api/v1/runs/{run['id']}:resume", params={"wait": 30})
    assert (resumed.status_code, resumed.json()["status"]) == (202, "waiting"), resumed.text
    assert resumed.headers["location"] == f"/api/v1/runs/{run['id']}"


async def test_a_decision_is_an_agents_and_a_workflow_has_approvals(client: Client) -> None:
    run = await execute(client, workflow(approval()))
    refused = await client.post(f"/api/v1/runs/{run['id']}:resume", json={"decision": "approve"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/decision")
    early = await client.post(f"/api/v1/runs/{run['id']}:resume")
    assert (early.status_code, early.json()["code"]) == (409, "run_not_ended")
    agent = await client.create_agent("helper", model="double:echo")
    turn = await client.post("/api/v1/runs", json={"agent": agent["id"], "input": "hi", "version": "latest"})
    missing = await client.post(f"/api/v1/runs/{turn.json()['run']['id']}:resume")
    assert (missing.status_code, missing.json()["errors"][0]["pointer"]) == (422, "/decision")


async def test_an_agents_run_is_no_workflows(client: Client) -> None:
    agent = await client.create_agent("helper", model="double:echo")
    turn = await client.post("/api/v1/runs", json={"agent": agent["id"], "input": "hi", "version": "latest"})
    path = f"/api/v1/runs/{turn.json()['run']['id']}"
    for verb, body in (("retry", {}), ("replay", {}), ("fork", {"from": "a"})):
        assert (await client.post(f"{path}:{verb}", json=body)).status_code == 404, verb
    assert (await client.get(f"{path}/diff", params={"with": path.rpartition("/")[2]})).status_code == 404
    assert (await client.get(f"{path}/output")).json() == "You said: hi"
    assert (await client.get(f"{path}/cost")).json()["tasks"] == []


async def test_a_replay_calls_nobody_and_comes_to_the_same(client: Client, model_server: ModelServer) -> None:
    key = "replayed"
    run = await execute(client, CHAIN, {"first": says("a"), "second": says("b", key)})
    replay = await client.post(f"/api/v1/runs/{run['id']}:replay")
    assert replay.status_code == 200, replay.text
    assert replay.json() == {
        "run_id": run["id"],
        "same": True,
        "status": "completed",
        "output": "b!",
        "labels": [],
        "error": None,
    }
    failed = await execute(client, CHAIN, {"first": says("a"), "second": failing("replay-fails")})
    again = (await client.post(f"/api/v1/runs/{failed['id']}:replay")).json()
    assert (again["status"], again["same"], again["error"]) == ("failed", True, failed["error"])
    assert (await model_server.calls(key))["calls"] == 1


async def test_runs_are_found_by_their_labels(client: Client) -> None:
    definition = workflow(pure("a", 1, next=["done"]), terminals=["done"])
    run = await execute(client, definition)
    assert run["labels"] == ["done"]
    assert [r["id"] for r in (await client.get("/api/v1/runs", params={"label": "done"})).json()["data"]] == [run["id"]]
    assert (await client.get("/api/v1/runs", params={"label": "else"})).json()["data"] == []


async def test_a_higher_priority_is_kept_with_the_run(client: Client) -> None:
    workflow_id = await create(client, workflow(pure("a", 1)))
    answer = await client.post(f"/api/v1/workflows/{workflow_id}/runs", json={"priority": 5}, params={"wait": 30})
    assert answer.json()["priority"] == 5
