"""Runs of workflows over HTTP, from their start to their end (S83, S90)."""

from typing import Any

from tests.serving import Client
from tests.services.workflows.conftest import HELLO, create, execute, pure, workflow


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
    assert (await client.get(f"/api/v1/runs/{run['id']}")).json() == run
