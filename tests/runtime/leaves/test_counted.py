"""The metrics of tasks (S94)."""

from prometheus_client.parser import text_string_to_metric_families as families

from agent_factory.core.event import TaskFinished, TurnEvent
from agent_factory.monitoring.metrics import Metrics
from agent_factory.runtime.flow.counted import counted
from tests.runtime.leaves.parts import Flows, task


def samples(metrics: Metrics) -> dict[str, float]:
    text = metrics.exposition()[0].decode()
    return {
        f"{sample.name} {sample.labels['type']}": sample.value
        for family in families(text)
        if family.name.startswith("task_")
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


async def test_tasks_are_counted_by_type_and_end_and_a_restart_counts_none_again(flows: Flows) -> None:
    metrics = Metrics()
    passed: list[TurnEvent] = []
    flows.emit = counted(passed.append, metrics)
    good = task("good", "transform", {"value": 1})
    bad = task("bad", "tool", {"tool": "no_such_tool"}, on_error="continue", depends_on=["good"])
    await flows.run(good, bad)
    await flows.run(good, bad)
    found = samples(metrics)
    assert found["task_success_counter_total transform"] == 1
    assert found["task_error_counter_total tool"] == 1
    assert found["task_execution_duration_count transform"] == found["task_execution_duration_count tool"] == 1
    assert found["task_execution_duration_sum tool"] >= 0
    assert len([e for e in passed if isinstance(e, TaskFinished)]) == 2


def test_seconds_are_seconds() -> None:
    metrics = Metrics()
    counted(lambda _: None, metrics)(TaskFinished("a", "a", "http", "completed", 1500))
    assert samples(metrics)["task_execution_duration_sum http"] == 1.5
