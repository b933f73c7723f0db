"""What tests of workflows are made of: definitions, and calls of the API."""

import asyncio
import json
from typing import Any

from agent_factory.runtime.queue.settings import QueueSettings
from tests.serving import Client

QUICK = QueueSettings(poll=0.05, beat=0.2)


def pure(task_id: str, value: Any, **more: Any) -> dict[str, Any]:
    """Make a task that only writes a value."""
    return {"id": task_id, "type": "transform", "config": {"value": value}, **more}


def ask(task_id: str, **more: Any) -> dict[str, Any]:
    """Make a task that asks a model what `input` has for it."""
    config = {"model": "double:echo", "prompt": f"{{{{ input.{task_id} }}}}"}
    return {"id": task_id, "type": "ai_inference", "config": config, **more}


def says(words: str, key: str = "", **more: Any) -> str:
    """Make a prompt at which the model server says something, counted under a key."""
    return json.dumps({"say": words, "key": key, **more})


def approval(*, after: str | None = None, **config: Any) -> dict[str, Any]:
    """Make the task `ask`, which asks people; another one may follow it."""
    following = {} if after is None else {"next": [after]}
    return {"id": "ask", "type": "approval", "config": {"title": "May I?", **config}, **following}


def workflow(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a definition."""
    return {"name": "greeter", "tasks": list(tasks), **more}


HELLO = workflow(
    pure("greet", "Hello {{ input.name }}"),
    input={"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
)


async def create(client: Client, definition: dict[str, Any] = HELLO, *, deploy: bool = True) -> str:
    """Create a workflow, put it into service, and give its id."""
    made = await client.post("/api/v1/workflows", json=definition)
    assert made.status_code == 201, made.text
    if deploy:
        answer = await client.post(f"/api/v1/workflows/{made.json()['id']}:deploy")
        assert answer.status_code == 200, answer.text
    return made.json()["id"]


async def execute(client: Client, definition: dict[str, Any], given: Any = None, wait: float = 30) -> dict[str, Any]:
    """Run a definition and give its run."""
    answer = await client.post(
        "/api/v1/workflows/execute", json={"workflow": definition, "input": given}, params={"wait": wait}
    )
    assert answer.status_code in (201, 202), answer.text
    return answer.json()


async def until(client: Client, run_id: str, *statuses: str) -> dict[str, Any]:
    """Wait until a run has one of some statuses."""
    while True:
        run = (await client.get(f"/api/v1/runs/{run_id}")).json()
        if run["status"] in statuses:
            return run
        await asyncio.sleep(0.02)


def faults(answer: Any) -> dict[str, str]:
    """Give the faults that a refusal names, by their pointers."""
    assert answer.status_code == 422, answer.text
    return {e["pointer"]: e["detail"] for e in answer.json()["errors"]}
