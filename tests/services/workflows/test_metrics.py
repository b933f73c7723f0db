"""What the server counts of the runs that it works on, as Prometheus reads it (S94, S170)."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from tests.services.workflows.parts import execute, pure, workflow
from tests.serving import Client

NAMES: tuple[str, ...] = (
    "workflow_executions_total",
    "workflow_executions_success_total",
    "task_success_counter_total",
    "task_error_counter_total",
    "task_execution_duration_count",
)


async def counted(client: Client) -> dict[str, float]:
    text = (await client.get("/metrics")).text
    found = dict.fromkeys(NAMES, 0.0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in found and sample.labels.get("type", "transform") == "transform":
                found[sample.name] += sample.value
    return found


async def test_runs_and_tasks_that_the_server_works_on_are_at_metrics(client: Client) -> None:
    before = await counted(client)
    await execute(client, workflow(pure("a", 1, next=["b"]), pure("b", 2)), {})
    await execute(client, workflow(pure("c", "{{ 1 / 0 }}")), {})
    wanted = dict(zip(NAMES, (2, 1, 2, 1, 3), strict=True))
    # a run is counted when its end is committed, which is a moment after others may see it
    while {n: value - before[n] for n, value in (await counted(client)).items()} != wanted:  # noqa: ASYNC110 - as said
        await asyncio.sleep(0.02)
