"""Workflows kept: created, changed, checked, deployed and put away (S83, S89, S99)."""

from typing import Any

import pytest
import yaml

from tests.services.workflows.parts import HELLO, approval, create, faults, pure, workflow
from tests.serving import Client

WORKFLOWS = "/api/v1/workflows"


async def test_a_workflow_is_a_draft_with_a_first_version_that_never_changes(client: Client) -> None:
    made = await client.post(WORKFLOWS, json=HELLO)
    assert made.status_code == 201
    shown = made.json()
    assert made.headers["location"] == f"{WORKFLOWS}/{shown['id']}"
    assert made.headers["etag"] == '"1"'
    assert (shown["status"], shown["latest_version"], shown["deployed_version"]) == ("draft", 1, None)
    assert shown["definition"] == HELLO
    changed = await client.patch(f"{WORKFLOWS}/{shown['id']}", json={"description": "Says hello."})
    assert changed.status_code == 200
    assert changed.json()["latest_version"] == 2
    path = f"{WORKFLOWS}/{shown['id']}/versions"
    assert (await client.get(f"{path}/1")).json()["definition"] == HELLO
    assert (await client.get(f"{path}/2")).json()["definition"] == {**HELLO, "description": "Says hello."}
    assert [v["number"] for v in (await client.get(path)).json()["data"]] == [2, 1]
    assert (await client.get(f"{path}/3")).status_code == 404


async def test_a_change_without_a_difference_makes_no_version(client: Client) -> None:
    workflow_id = await create(client, deploy=False)
    for answer in (
        await client.patch(f"{WORKFLOWS}/{workflow_id}", json={}),
        await client.put(f"{WORKFLOWS}/{workflow_id}", json=HELLO),
    ):
        assert (answer.status_code, answer.json()["latest_version"]) == (200, 1)
    again = await client.post(f"{WORKFLOWS}/{workflow_id}/versions", json=HELLO)
    assert (again.status_code, again.json()["number"]) == (201, 1)


async def test_a_change_that_is_based_on_an_old_state_is_refused(client: Client) -> None:
    path = f"{WORKFLOWS}/{await create(client, deploy=False)}"
    tag = (await client.get(path)).headers["etag"]
    first = await client.patch(path, json={"description": "a"}, headers={"If-Match": tag})
    assert first.status_code == 200
    late = await client.patch(path, json={"description": "b"}, headers={"If-Match": tag})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (await client.post(f"{path}:deploy", headers={"If-Match": tag})).status_code == 412
    assert (await client.post(f"{path}:deploy", headers={"If-Match": first.headers["etag"]})).status_code == 200


async def test_a_name_is_taken_until_its_workflow_is_archived(client: Client) -> None:
    workflow_id = await create(client)
    assert (await client.post(WORKFLOWS, json=HELLO)).status_code == 409
    assert (await client.delete(f"{WORKFLOWS}/{workflow_id}")).status_code == 204
    await create(client)
    listed = await client.get(WORKFLOWS, params={"name": "greeter"})
    assert [w["status"] for w in listed.json()["data"]] == ["deployed"]
    archived = await client.get(WORKFLOWS, params={"status": "archived"})
    assert [w["id"] for w in archived.json()["data"]] == [workflow_id]


async def test_lists_come_in_pages(client: Client) -> None:
    for n in range(3):
        await create(client, {**HELLO, "name": f"w{n}"}, deploy=False)
    first = (await client.get(WORKFLOWS, params={"limit": 2})).json()
    rest = (await client.get(WORKFLOWS, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [w["name"] for w in first["data"] + rest["data"]] == ["w2", "w1", "w0"]
    assert (first["has_more"], rest["has_more"]) == (True, False)


async def test_the_life_of_a_workflow_has_typed_conflicts(client: Client) -> None:
    path = f"{WORKFLOWS}/{await create(client, deploy=False)}"
    early = await client.post(f"{path}:rollback")
    assert (early.status_code, early.json()["code"]) == (409, "workflow_status_conflict")
    assert (await client.post(f"{path}:activate")).json()["status"] == "active"
    assert (await client.post(f"{path}:deploy")).json()["status"] == "deployed"
    assert (await client.post(f"{path}:rollback")).json()["code"] == "workflow_no_earlier_version"
    await client.patch(path, json={"description": "2"})
    assert (await client.post(f"{path}:deploy")).json()["deployed_version"] == 2
    assert (await client.post(f"{path}:rollback")).json()["deployed_version"] == 1
    assert (await client.post(f"{path}:deploy", json={"version": 2})).json()["deployed_version"] == 2
    assert (await client.post(f"{path}:deploy", json={"version": 7})).json()["code"] == "workflow_version_not_found"
    assert (await client.post(f"{path}:pause")).json()["status"] == "paused"
    assert (await client.post(f"{path}:archive")).json()["status"] == "archived"
    for verb in ("deploy", "pause", "activate", "archive", "rollback"):
        refused = await client.post(f"{path}:{verb}")
        assert (refused.status_code, refused.json()["code"]) == (409, "workflow_archived"), verb
    assert (await client.patch(path, json={"description": "3"})).json()["code"] == "workflow_archived"


async def test_yaml_means_the_same_as_json(client: Client) -> None:
    headers = {"Content-Type": "application/yaml"}
    text = yaml.safe_dump(HELLO)
    assert (await client.post(f"{WORKFLOWS}:validate", content=text, headers=headers)).json() == {"valid": True}
    made = await client.post(WORKFLOWS, content=text, headers=headers)
    assert (made.status_code, made.json()["definition"]) == (201, HELLO)
    body = yaml.safe_dump({"workflow": HELLO, "input": {"name": "Ada"}})
    run = await client.post(f"{WORKFLOWS}/execute?wait=30", content=body, headers=headers)
    assert (run.status_code, run.json()["output"]) == (201, "Hello Ada")


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.system [id]", "a: 1\na: 2", "&a [*a]", "\t"])
async def test_what_is_no_yaml_is_refused(client: Client, text: str) -> None:
    """Abuse 56: tags build nothing."""
    answer = await client.post(f"{WORKFLOWS}:validate", content=text, headers={"Content-Type": "application/yaml"})
    assert answer.status_code in (400, 422), answer.text


async def test_yaml_is_read_only_where_definitions_are_and_only_for_known_callers(
    client: Client, anyone: Client
) -> None:
    headers = {"Content-Type": "application/yaml"}
    assert (await client.post("/api/v1/sessions", content="agent: x", headers=headers)).status_code == 415
    assert (await client.post("/v1/embeddings", content="agent: x", headers=headers)).status_code == 415
    assert (await anyone.post(f"{WORKFLOWS}:validate", content="a: [", headers=headers)).status_code == 401


def task(task_id: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"id": task_id, "type": kind, "config": config}


BROKEN = [
    ({}, "/tasks"),
    (workflow(pure("a", 1, next=["gone"])), "/tasks/0/next"),
    (workflow(task("a", "sorcery")), "/tasks/0/type"),
    (workflow(pure("a", 1, colour="red")), "/tasks/0/colour"),
    (workflow(pure("a", "{{ nobody.output }}")), "/tasks/0/config/value"),
    (workflow(task("a", "ai_inference", prompt="x", model="nobody:knows")), "/tasks/0/config/model"),
    (workflow(task("a", "agent", agent="nobody", message="x")), "/tasks/0/config/agent"),
    (
        workflow(task("a", "agent", agent={"name": "x", "model": "nobody:knows"}, message="x")),
        "/tasks/0/config/agent/model",
    ),
    (workflow(task("a", "tool", tool="hammer")), "/tasks/0/config/tool"),
    (workflow(task("a", "tool", tool="calculator", config={"colour": "red"})), "/tasks/0/config/config/colour"),
    (workflow(task("a", "subworkflow", workflow="nobody")), "/tasks/0/config/workflow"),
    (workflow(task("a", "subworkflow", workflow="greeter")), "/tasks/0/config/workflow"),
    (
        workflow(task("a", "map", items=[1], tasks=[task("b", "tool", tool="hammer")])),
        "/tasks/0/config/tasks/0/config/tool",
    ),
    (
        workflow(task("a", "try", tasks=[pure("b", 1)], catch=[task("c", "agent", agent="nobody", message="x")])),
        "/tasks/0/config/catch/0/config/agent",
    ),
    (
        workflow(task("a", "parallel", branches={"left": [task("b", "subworkflow", workflow="nobody")]})),
        "/tasks/0/config/branches/left/0/config/workflow",
    ),
    (
        workflow(
            task("a", "try", tasks=[{**pure("b", 1), "compensate": {"type": "tool", "config": {"tool": "hammer"}}}])
        ),
        "/tasks/0/config/tasks/0/compensate/config/tool",
    ),
    (workflow(task("a", "wait", seconds="3")), "/tasks/0/config/seconds"),
    (workflow(pure("a", 1), input={"type": "sorcery"}), "/input"),
]


@pytest.mark.parametrize(("definition", "pointer"), BROKEN)
async def test_a_fault_is_told_by_its_pointer_and_nothing_is_kept(
    client: Client, definition: dict[str, Any], pointer: str
) -> None:
    for answer in (
        await client.post(f"{WORKFLOWS}:validate", json=definition),
        await client.post(WORKFLOWS, json=definition),
    ):
        assert pointer in faults(answer), answer.text
    executed = await client.post(f"{WORKFLOWS}/execute", json={"workflow": definition})
    assert executed.status_code == 422
    assert (await client.get(WORKFLOWS)).json()["data"] == []
    assert (await client.get("/api/v1/runs")).json()["data"] == []


async def test_all_names_that_lead_nowhere_are_told_together(client: Client) -> None:
    definition = workflow(
        {**task("a", "agent", agent="nobody", message="x"), "next": ["b", "c"]},
        task("b", "subworkflow", workflow="nowhere"),
        task("c", "tool", tool="hammer"),
    )
    found = faults(await client.post(f"{WORKFLOWS}:validate", json=definition))
    assert set(found) == {"/tasks/0/config/agent", "/tasks/1/config/workflow", "/tasks/2/config/tool"}


async def test_workflows_cannot_run_inside_themselves(client: Client) -> None:
    inner = await create(client, {**HELLO, "name": "inner"})
    outer = workflow(task("a", "subworkflow", workflow="inner"), name="outer")
    await create(client, outer)
    around = workflow(task("b", "subworkflow", workflow="outer"), name="inner")
    found = faults(await client.put(f"{WORKFLOWS}/{inner}", json=around))
    assert "would run inside itself" in found["/tasks/0/config/workflow"]
    itself = workflow(task("b", "subworkflow", workflow=inner), name="inner")
    assert "/tasks/0/config/workflow" in faults(await client.put(f"{WORKFLOWS}/{inner}", json=itself))


async def test_workflows_go_only_so_deep_in_each_other(client: Client) -> None:
    await create(client, workflow(pure("a", 1), name="w0"))
    for n in range(1, 11):
        await create(client, workflow(task("a", "subworkflow", workflow=f"w{n - 1}"), name=f"w{n}"))
    deeper = workflow(task("a", "subworkflow", workflow="w10"), name="w11")
    assert "deep" in faults(await client.post(WORKFLOWS, json=deeper))["/tasks/0/config/workflow"]
    run = await client.post(f"{WORKFLOWS}/execute?wait=30", json={"name": "w10"})
    assert (run.status_code, run.json()["status"]) == (201, "completed")


async def test_what_was_runnable_is_checked_again_when_it_is_deployed(client: Client) -> None:
    inner = await create(client, {**HELLO, "name": "inner"})
    outer = await create(client, workflow(task("a", "subworkflow", workflow="inner"), name="outer"), deploy=False)
    assert (await client.post(f"{WORKFLOWS}/{outer}:validate")).json() == {"valid": True}
    await client.post(f"{WORKFLOWS}/{inner}:archive")
    for verb in ("validate", "deploy"):
        assert "/tasks/0/config/workflow" in faults(await client.post(f"{WORKFLOWS}/{outer}:{verb}"))


async def test_a_definition_that_is_too_large_or_too_deep_is_refused(client: Client) -> None:
    many = workflow(*(pure(f"t{n}", 1) for n in range(10_001)))
    assert "/tasks" in faults(await client.post(f"{WORKFLOWS}:validate", json=many))
    nested: dict[str, Any] = pure("t", 1)
    for n in range(30):
        nested = task(f"m{n}", "map", items=[1], tasks=[nested])
    deep = await client.post(f"{WORKFLOWS}:validate", json=workflow(nested))
    assert (deep.status_code, deep.json()["code"]) == (400, "malformed_request")
    huge = await client.post(f"{WORKFLOWS}:validate", json=workflow(pure("a", "x" * 1_100_000)))
    assert (huge.status_code, huge.json()["code"]) == (413, "body_too_large")


async def test_creating_twice_with_one_key_makes_one_workflow(client: Client) -> None:
    """Abuse 72"""
    headers = {"Idempotency-Key": "once"}
    first = await client.post(WORKFLOWS, json=HELLO, headers=headers)
    again = await client.post(WORKFLOWS, json=HELLO, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    other = await client.post(WORKFLOWS, json=workflow(approval()), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
