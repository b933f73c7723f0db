"""Users' code as tasks: in the snippet tier for real, and where no tier is (S92)."""

from typing import Any

import msgspec
import pytest

from agent_factory.core.journal import MemoryJournal
from agent_factory.runtime.sandbox import Done, Job, Sandbox, SandboxSettings
from tests.runtime.leaves.parts import Crash, DyingJournal, Flows, task


def run(code: str, task_id: str = "compute", /, **config: Any) -> dict[str, Any]:
    return task(task_id, "code", {"code": code, "tier": "snippet", **config})


class Watched(Sandbox):
    """A sandbox that remembers its jobs."""

    def __init__(self, settings: SandboxSettings) -> None:
        super().__init__(settings)
        self.jobs: list[Job] = []

    async def run(self, job: Job) -> Done:
        self.jobs.append(job)
        return await super().run(job)


@pytest.fixture
def sandbox(flows: Flows) -> Watched:
    flows.sandbox = made = Watched(SandboxSettings(tiers=("snippet",)))
    return made


async def test_the_output_is_what_the_code_assigned_to_result(flows: Flows, sandbox: Watched) -> None:
    code = "result = [n * 2 for n in inputs['numbers']]"
    assert await flows.output(run(code, inputs={"numbers": "{{ input }}"}), document=[1, 2, 3]) == [2, 4, 6]


async def test_a_job_knows_whose_it_is(flows: Flows, sandbox: Watched) -> None:
    limits = {"seconds": 5, "memory_mb": 64}
    await flows.output(run("result = 1", limits=limits))
    [job] = sandbox.jobs
    assert (job.key, job.organization_id, job.limits.seconds) == (f"{flows.run_id}/compute", "org-1", 5)


async def test_what_was_printed_and_used_is_kept_as_a_step(flows: Flows, sandbox: Watched) -> None:
    await flows.output(run("print('hello ' * 10000)\nresult = 1"))
    assert flows.recorded() == ["compute/code", "compute"]
    told = msgspec.json.decode(flows.entry("compute/code").output)
    assert told["stdout"].startswith("hello hello")
    assert len(told["stdout"]) < 5000
    assert flows.entry("compute/code").name == "snippet"


async def test_a_run_that_is_repeated_runs_no_code_again(flows: Flows, sandbox: Watched) -> None:
    await flows.output(run("result = 1"))
    await flows.output(run("result = 1"))
    assert len(sandbox.jobs) == 1


async def test_a_crash_before_the_record_runs_the_code_again_under_the_same_key(flows: Flows, sandbox: Watched) -> None:
    flows.journal = DyingJournal("compute")
    with pytest.raises(Crash):
        await flows.run(run("result = 1"))
    assert await flows.output(run("result = 1")) == 1
    assert {job.key for job in sandbox.jobs} == {f"{flows.run_id}/compute"}


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("result = 1 / 0", "code_failed"),
        ("result = (", "code_failed"),
        ("while True:\n    pass", "code_timeout"),
    ],
)
async def test_each_failure_keeps_its_class(flows: Flows, sandbox: Watched, code: str, failure: str) -> None:
    error = await flows.error(run(code, limits={"seconds": 1, "cpu_seconds": 1}))
    assert (error["code"], error["path"]) == (failure, "compute")
    assert "retryable" not in error


async def test_code_that_fails_leaves_what_it_had_printed(flows: Flows, sandbox: Watched) -> None:
    await flows.error(run("print('so far')\nresult = 1 / 0"))
    entry = flows.entry("compute/code")
    assert entry.is_error
    assert "so far" in msgspec.json.decode(entry.output)["stdout"]


async def test_a_runs_input_never_becomes_code(flows: Flows, sandbox: Watched) -> None:
    """Abuse 49: what a run is given is data for the code, never code."""
    output = await flows.output(run("result = '{{ input }}'"), document="'; import os; '")
    assert output == "{{ input }}"


async def test_where_no_tier_is_the_task_says_what_to_do(flows: Flows) -> None:
    flows.sandbox = Sandbox(SandboxSettings(tiers=()))
    error = await flows.error(run("result = 1"))
    assert error["code"] == "code_tier_unavailable"
    assert "AF_SANDBOX__TIERS" in error["detail"]


async def test_a_process_without_a_sandbox_says_so(flows: Flows) -> None:
    error = await flows.error(run("result = 1"))
    assert error["code"] == "code_tier_unavailable"
    assert isinstance(flows.journal, MemoryJournal)
