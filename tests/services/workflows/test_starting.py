"""Runs of workflows over HTTP, from their start to their end (S83, S90, S96, S99-S104)."""

import json
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI

from agent_factory.kit import ids
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.platform import Platform
from agent_factory.services.workflows import service
from agent_factory.services.workflows.errors import InputInvalid, WorkflowNotDeployed
from tests.services.workflows.parts import HELLO, ask, create, execute, faults, pure, says, until, workflow
from tests.serving import Client

EXECUTE = "/api/v1/workflows/execute"

SAMPLE: dict[str, Any] = {
    "id": "workflow_123",
    "name": "Customer Support Agent",
    "version": "1.0",
    "trigger": {"type": "webhook", "config": {"path": "/webhook/customer-support", "method": "POST"}},
    "tasks": [
        {
            "id": "classify_intent",
            "type": "ai_inference",
            "config": {
                "model": "gpt-4",
                "prompt": "Classify the customer intent: {{input.message}}",
                "max_tokens": 100,
            },
            "next": ["route_to_handler"],
        },
        {
            "id": "route_to_handler",
            "type": "conditional",
            "config": {
                "conditions": [
                    {"if": "{{ classify_intent.output.intent == 'billing' }}", "then": "billing_handler"},
                    {"if": "{{ classify_intent.output.intent == 'technical' }}", "then": "technical_handler"},
                ],
                "default": "general_handler",
            },
        },
    ],
}
"""The specification's own workflow, word for word."""

HANDLERS = ["billing_handler", "technical_handler", "general_handler"]


async def test_the_specifications_sample_runs(client: Client) -> None:
    """S99-S104, merge 8: the handlers that it never defines are terminal labels."""
    refused = await client.post(EXECUTE, json={"workflow": SAMPLE, "input": {"message": "hello"}})
    assert "/tasks/1/config/conditions/0/then" in faults(refused)
    run = await execute(client, {**SAMPLE, "terminals": HANDLERS}, {"message": "My parcel is late."})
    assert (run["status"], run["labels"]) == ("completed", ["general_handler"])
    steps = (await client.get(f"/api/v1/runs/{run['id']}/steps")).json()["data"]
    tasks = [(s["path"], s["type"], s["status"]) for s in steps if s["kind"] == "task"]
    assert tasks == [
        ("classify_intent", "ai_inference", "completed"),
        ("route_to_handler", "conditional", "completed"),
    ]


async def test_the_sample_reads_an_intent_that_a_schema_asks_for(client: Client) -> None:
    """S103, merge 8"""
    sample = json.loads(json.dumps({**SAMPLE, "terminals": HANDLERS}))
    schema = {"type": "object", "properties": {"intent": {"type": "string"}}, "required": ["intent"]}
    sample["tasks"][0]["config"]["output_schema"] = schema
    for intent in ("billing", "technical"):
        run = await execute(client, sample, {"message": json.dumps({"json": {"intent": intent}})})
        assert (run["status"], run["labels"]) == ("completed", [f"{intent}_handler"])


async def test_a_workflow_is_created_deployed_run_and_completed(client: Client) -> None:
    workflow_id = await create(client)
    answer = await client.post(
        f"/api/v1/workflows/{workflow_id}/runs", json={"input": {"name": "Ada"}}, params={"wait": 30}
    )
    assert answer.status_code == 201, answer.text
    run = answer.json()
    assert answer.headers["location"] == f"/api/v1/runs/{run['id']}"
    assert (run["kind"], run["status"], run["output"]) == ("workflow", "completed", "Hello Ada")
    assert (run["workflow_id"], run["workflow_version"], run["trigger"]) == (workflow_id, 1, "manual")
    assert (run["input"], run["waits"], run["error"]) == ({"name": "Ada"}, [], None)
    assert run["created_at"] <= run["started_at"] <= run["completed_at"]
    assert (await client.get(f"/api/v1/runs/{run['id']}")).json() == run


async def test_who_does_not_wait_is_told_where_the_run_is(client: Client) -> None:
    workflow_id = await create(client)
    answer = await client.post(f"/api/v1/workflows/{workflow_id}/runs", json={"input": {"name": "Ada"}})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/v1/runs/{answer.json()['id']}"
    assert (await until(client, answer.json()["id"], "completed"))["output"] == "Hello Ada"


async def test_a_workflow_is_executed_by_its_id_or_its_name(client: Client) -> None:
    workflow_id = await create(client)
    for ref in ({"workflow_id": workflow_id}, {"name": "greeter"}):
        answer = await client.post(EXECUTE, json={**ref, "input": {"name": "Ada"}}, params={"wait": 30})
        assert (answer.status_code, answer.json()["workflow_id"]) == (201, workflow_id)
    listed = (await client.get("/api/v1/runs", params={"workflow_id": workflow_id})).json()["data"]
    assert len(listed) == 2
    assert (await client.get("/api/v1/runs", params={"kind": "agent"})).json()["data"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "greeter", "workflow": HELLO},
        {"workflow": HELLO, "version": 1},
        {"name": "greeter", "priority": "high"},
        {"name": "greeter", "version": 0},
        {"workflow_id": "agt_00000000000000000000000000"},
    ],
)
async def test_a_request_that_does_not_say_what_to_run_is_refused(client: Client, body: dict[str, Any]) -> None:
    assert (await client.post(EXECUTE, json=body)).status_code == 422


async def test_what_is_not_there_or_not_deployed_is_not_run(client: Client) -> None:
    draft = await create(client, deploy=False)
    runs = f"/api/v1/workflows/{draft}/runs"
    refused = await client.post(runs, json={"input": {"name": "Ada"}})
    assert (refused.status_code, refused.json()["code"]) == (409, "workflow_not_deployed")
    for version in (1, "latest"):
        tried = await client.post(runs, json={"input": {"name": "Ada"}, "version": version}, params={"wait": 30})
        assert tried.status_code == 201
    assert (await client.post(runs, json={"version": 2})).json()["code"] == "workflow_version_not_found"
    assert (await client.post(EXECUTE, json={"name": "nobody"})).json()["code"] == "workflow_not_found"
    await client.post(f"/api/v1/workflows/{draft}:archive")
    gone = await client.post(runs, json={"input": {"name": "Ada"}, "version": 1})
    assert (gone.status_code, gone.json()["code"]) == (409, "workflow_archived")


async def test_an_input_that_does_not_fit_begins_no_run(client: Client) -> None:
    workflow_id = await create(client)
    refused = await client.post(f"/api/v1/workflows/{workflow_id}/runs", json={"input": {"name": 7}})
    assert refused.json()["code"] == "input_invalid"
    assert set(faults(refused)) == {"/input/name"}
    assert set(faults(await client.post(f"/api/v1/workflows/{workflow_id}/runs"))) == {"/input"}
    assert (await client.get("/api/v1/runs")).json()["data"] == []


async def test_one_key_begins_one_run(client: Client) -> None:
    """Abuse 72"""
    path = f"/api/v1/workflows/{await create(client)}/runs"
    headers = {"Idempotency-Key": "order-7"}
    first = await client.post(path, json={"input": {"name": "Ada"}}, headers=headers)
    again = await client.post(path, json={"input": {"name": "Ada"}}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    other = await client.post(path, json={"input": {"name": "Bob"}}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len((await client.get("/api/v1/runs")).json()["data"]) == 1


async def test_a_run_has_everything_that_its_workflow_names(client: Client) -> None:
    await client.create_agent("writer", model="double:echo")
    listed = (await client.get("/api/v1/agents")).json()["data"]
    await client.post(f"/api/v1/agents/{listed[0]['id']}:deploy")
    await create(client, {**HELLO, "name": "inner"})
    sub = {"id": "sub", "type": "subworkflow", "config": {"workflow": "inner", "input": {"name": "{{ input.name }}"}}}
    write = {"id": "write", "type": "agent", "config": {"agent": "writer", "message": "{{ sub.output }}"}}
    count = {
        "id": "count",
        "type": "tool",
        "config": {"tool": "calculator", "arguments": {"expression": "6 * 7"}},
        "depends_on": ["write"],
    }
    definition = workflow(
        {**sub, "next": ["write"]},
        write,
        count,
        name="outer",
        output={"said": "{{ write.output.text }}", "count": "{{ count.output }}"},
    )
    workflow_id = await create(client, definition)
    answer = await client.post(
        f"/api/v1/workflows/{workflow_id}/runs", json={"input": {"name": "Ada"}}, params={"wait": 30}
    )
    run = answer.json()
    assert run["status"] == "completed", run
    assert run["output"] == {"said": "You said: Hello Ada", "count": "42"}
    assert run["input_tokens"] > 0
    paths = {s["path"] for s in (await client.get(f"/api/v1/runs/{run['id']}/steps")).json()["data"]}
    assert {"sub", "sub/greet", "write", "count"} <= paths


async def test_an_agent_that_is_defined_in_the_workflow_brings_its_own_agents(client: Client) -> None:
    helper = await client.create_agent("helper", model="double:echo")
    await client.post(f"/api/v1/agents/{helper['id']}:deploy")
    agent = {"name": "boss", "model": "double:echo", "tools": [{"use": "agent", "config": {"agent": "helper"}}]}
    message = json.dumps({"call": [{"name": "ask_helper", "arguments": {"message": "how are you?"}}], "say": "asked"})
    task = {"id": "lead", "type": "agent", "config": {"agent": agent, "message": "{{ input }}"}}
    run = await execute(client, workflow(task), message)
    assert run["status"] == "completed", run
    found = (await client.get(f"/api/v1/runs/{run['id']}/steps")).json()["data"]
    asked = [(s["name"], s["is_error"], s["output"]) for s in found if s["kind"] == "tool"]
    assert asked == [("ask_helper", False, "You said: how are you?")]


async def test_what_is_deployed_later_does_not_change_a_run_in_flight(client: Client) -> None:
    """A run pins its definition with all that it names."""
    inner = await create(client, workflow(pure("a", "old"), name="inner"))
    wait = {"id": "ask", "type": "approval", "config": {"title": "Go on?"}, "next": ["sub"]}
    sub = {"id": "sub", "type": "subworkflow", "config": {"workflow": "inner"}}
    outer = await create(client, workflow(wait, sub, name="outer"))
    started = await client.post(f"/api/v1/workflows/{outer}/runs", params={"wait": 30})
    run = started.json()
    assert (started.status_code, run["status"]) == (202, "waiting")
    for path, definition in (
        (inner, workflow(pure("a", "new"), name="inner")),
        (outer, workflow(pure("b", "else"), name="outer")),
    ):
        await client.put(f"/api/v1/workflows/{path}", json=definition)
        await client.post(f"/api/v1/workflows/{path}:deploy")
    approval_id = run["waits"][0]["approval_id"]
    await client.post(f"/api/v1/approvals/{approval_id}:decide", json={"decision": "approve"})
    assert (await until(client, run["id"], "completed", "failed"))["output"] == "old"
    fresh = await client.post(f"/api/v1/workflows/{outer}/runs", params={"wait": 30})
    assert fresh.json()["output"] == "else"


async def test_a_deployed_workflow_needs_what_it_names_deployed(client: Client) -> None:
    inner = await create(client, {**HELLO, "name": "inner"}, deploy=False)
    sub = {"id": "sub", "type": "subworkflow", "config": {"workflow": "inner", "input": {"name": "Ada"}}}
    outer = await create(client, workflow(sub, name="outer"))
    runs = f"/api/v1/workflows/{outer}/runs"
    refused = await client.post(runs)
    assert refused.json()["code"] == "workflow_names_invalid"
    assert set(faults(refused)) == {"/tasks/0/config/workflow"}
    tried = await client.post(runs, json={"version": "latest"}, params={"wait": 30})
    assert tried.json()["output"] == "Hello Ada"
    await client.post(f"/api/v1/workflows/{inner}:deploy")
    assert (await client.post(runs, params={"wait": 30})).json()["output"] == "Hello Ada"


async def test_another_organisations_workflows_cannot_be_named(client: Client, stranger: Client) -> None:
    """Abuse 35"""
    theirs = await create(stranger)
    for ref in ({"workflow_id": theirs}, {"name": "greeter"}):
        assert (await client.post(EXECUTE, json=ref)).json()["code"] == "workflow_not_found"
    for named in (theirs, "greeter"):
        sub = {"id": "sub", "type": "subworkflow", "config": {"workflow": named}}
        refused = await client.post(EXECUTE, json={"workflow": workflow(sub, name="mine")})
        assert set(faults(refused)) == {"/tasks/0/config/workflow"}


async def test_model_calls_of_a_run_are_counted(client: Client) -> None:
    """S96, S98"""
    definition = workflow(ask("first", next=["second"]), ask("second"))
    run = await execute(client, definition, {"first": says("a", usage=[10, 2]), "second": says("b", usage=[20, 3])})
    assert (run["input_tokens"], run["output_tokens"]) == (30, 5)
    cost = (await client.get(f"/api/v1/runs/{run['id']}/cost")).json()
    assert [(t["task"], t["calls"], t["input_tokens"], t["output_tokens"]) for t in cost["tasks"]] == [
        ("first", 1, 10, 2),
        ("second", 1, 20, 3),
    ]
    assert sum(m["calls"] for m in cost["models"]) == 2


async def test_triggers_start_a_run_once_for_each_id(app: FastAPI, client: Client) -> None:
    """S72, S90: what starts runs by itself names them, so that two of it start one."""
    platform: Platform = app.state.platform
    organization_id, workflow_id = client.actor.organization_id, ids.decode("wf", await create(client))
    run_id = uuid7()

    async def start(ref: UUID | str, document: Any = None) -> service.Started:
        return await service.start(
            platform, organization_id, ref, document=document, trigger="cron", source="cron", run_id=run_id
        )

    first = await start(workflow_id, {"name": "Ada"})
    again = await start("greeter", {"name": "Ada"})
    assert (first.new, again.new) == (True, False)
    assert first.run_id == again.run_id == run_id
    run = await until(client, ids.encode("run", run_id), "completed")
    assert (run["trigger"], run["output"]) == ("cron", "Hello Ada")
    with pytest.raises(InputInvalid):
        await start(workflow_id)
    await client.post(f"/api/v1/workflows/{ids.encode('wf', workflow_id)}:pause")
    with pytest.raises(WorkflowNotDeployed):
        await start(workflow_id, {"name": "Ada"})
