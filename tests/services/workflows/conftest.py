"""An application with a worker over the model server."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.runtime.models import Endpoint, ModelsSettings
from agent_factory.runtime.queue.settings import QueueSettings
from tests.doubles.fixtures import ModelServer
from tests.serving import Client, opened, settings_for

QUICK = QueueSettings(poll=0.05, beat=0.2)


@pytest.fixture(scope="package")
async def app(database_url: str, model_server: ModelServer) -> AsyncGenerator[FastAPI, None]:
    """Every room and a worker in this process, with models of the model server."""
    models = ModelsSettings(endpoints={"double": Endpoint(url=model_server.url)})
    async with opened(settings_for(database_url, models=models, queue=QUICK)) as running:
        yield running


def pure(task_id: str, value: Any, **more: Any) -> dict[str, Any]:
    """Make a task that only writes a value."""
    return {"id": task_id, "type": "transform", "config": {"value": value}, **more}


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
