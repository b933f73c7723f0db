"""Which tier a job gets, and which jobs get none (S92)."""

import shutil
from pathlib import Path

import pytest

from agent_factory.core.task import CodeLimits
from agent_factory.kit.errors import Invalid
from agent_factory.runtime.sandbox import Done, Job, Sandbox, SandboxSettings, TierStatus
from agent_factory.runtime.sandbox.errors import CodeFailed, CodeRefused, CodeTimeout, TierUnavailable
from agent_factory.runtime.sandbox.job import Runner, Tier
from agent_factory.runtime.sandbox.settings import MostLimits
from tests.runtime.sandbox.conftest import no_bubblewrap


class Noting:
    """A tier that runs nothing, and notes what it was given."""

    def __init__(self, name: Tier, *, available: bool = True, fails: Exception | None = None) -> None:
        self.name: Tier = name
        self.available, self.fails = available, fails
        self.jobs: list[Job] = []

    async def status(self) -> TierStatus:
        return TierStatus(self.name, available=self.available, hint="" if self.available else f"Install {self.name}.")

    async def run(self, job: Job) -> Done:
        self.jobs.append(job)
        if self.fails is not None:
            raise self.fails
        return Done(result=1, stdout="", stderr="", tier=self.name, duration_ms=0, cpu_seconds=None, peak_memory=None)

    async def close(self) -> None:
        self.available = False


ALL: tuple[Tier, ...] = ("snippet", "sandbox", "container", "kubernetes")


def world(*tiers: Noting, settings: SandboxSettings | None = None) -> Sandbox:
    runners: dict[Tier, Runner] = {tier.name: tier for tier in tiers}
    return Sandbox(settings or SandboxSettings(tiers=ALL, network=True, images=("allowed/*",)), runners)


async def test_plain_code_goes_to_the_cheapest_tier() -> None:
    done = await world(Noting("snippet"), Noting("sandbox"), Noting("container")).run(Job(code="result = 1"))
    assert done.tier == "snippet"


async def test_what_the_snippet_tier_does_not_know_goes_to_the_next() -> None:
    snippet = Noting("snippet", fails=CodeFailed("ModuleNotFoundError: No module named 'csv'."))
    assert (await world(snippet, Noting("sandbox")).run(Job(code="import csv"))).tier == "sandbox"
    assert (await world(snippet, Noting("container")).run(Job(code="import csv"))).tier == "container"
    with pytest.raises(CodeFailed, match="csv"):
        await world(snippet).run(Job(code="import csv"))


async def test_a_limit_that_ended_the_code_once_is_not_tried_twice() -> None:
    sandbox = Noting("sandbox")
    with pytest.raises(CodeTimeout):
        await world(Noting("snippet", fails=CodeTimeout("over")), sandbox).run(Job(code="while True: pass"))
    assert sandbox.jobs == []


@pytest.mark.parametrize(
    ("job", "tier"),
    [
        (Job(code="", environment={"A": "b"}), "sandbox"),
        (Job(code="", network="full"), "sandbox"),
        (Job(code="", image="allowed/python:3"), "container"),
        (Job(code="", tier="kubernetes"), "kubernetes"),
        (Job(code="", tier="container"), "container"),
    ],
)
async def test_a_job_that_needs_more_than_a_snippet_gets_it(job: Job, tier: Tier) -> None:
    assert (await world(*(Noting(name) for name in ALL)).run(job)).tier == tier


async def test_where_no_tier_is_available_the_job_is_refused_with_what_to_install() -> None:
    tiers = [Noting(name, available=False) for name in ALL]
    with pytest.raises(TierUnavailable) as caught:
        await world(*tiers).run(Job(code="result = 1"))
    assert caught.value.detail == "Install sandbox. Or: Install container. Or: Install kubernetes."
    with pytest.raises(TierUnavailable, match="Install container"):
        await world(*tiers).run(Job(code="result = 1", tier="container"))


async def test_a_tier_that_is_switched_off_is_refused_with_the_setting() -> None:
    settings = SandboxSettings(tiers=("snippet",))
    sandbox = Sandbox(settings)
    with pytest.raises(TierUnavailable, match="AF_SANDBOX__TIERS"):
        await sandbox.run(Job(code="result = 1", tier="sandbox"))
    await sandbox.close()


async def test_without_the_programs_the_hint_names_the_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox = Sandbox(SandboxSettings(docker=tmp_path / "none"))
    hints = {status.name: status for status in await sandbox.tiers()}
    assert "apt-get install bubblewrap" in hints["sandbox"].hint
    assert "podman" in hints["container"].hint
    assert not hints["sandbox"].available
    assert not hints["container"].available
    with pytest.raises(TierUnavailable, match="bubblewrap"):
        await sandbox.run(Job(code="import csv", environment={"A": "b"}))
    await sandbox.close()


async def test_limits_beyond_those_of_the_installation_are_refused() -> None:
    settings = SandboxSettings(most=MostLimits(memory_mb=64, seconds=5))
    tier = Noting("snippet")
    with pytest.raises(CodeRefused, match=r"at most seconds 5, memory_mb 64"):
        await world(tier, settings=settings).run(Job(code="", limits=CodeLimits(memory_mb=65, seconds=6)))
    await world(tier, settings=settings).run(Job(code="", limits=CodeLimits(seconds=4)))
    assert (tier.jobs[0].limits.memory_mb, tier.jobs[0].limits.seconds) == (64, 4)


async def test_a_network_is_refused_until_the_operator_opens_it() -> None:
    with pytest.raises(CodeRefused, match="AF_SANDBOX__NETWORK"):
        await world(Noting("sandbox"), settings=SandboxSettings()).run(Job(code="", network="full"))


@pytest.mark.parametrize("image", ["evil/python", "allowed", "docker.io/allowed/python"])
async def test_an_image_that_is_not_allowed_is_refused(image: str) -> None:
    with pytest.raises(CodeRefused, match="AF_SANDBOX__IMAGES"):
        await world(Noting("container")).run(Job(code="", image=image))


@pytest.mark.parametrize(
    "job",
    [
        Job(code="", tier="sandbox", image="allowed/x"),
        Job(code="", tier="snippet", image="allowed/x"),
        Job(code="", tier="snippet", environment={"A": "b"}),
        Job(code="", tier="snippet", network="full"),
        Job(code="", image="allowed/../../containers/json"),
        Job(code="", image="allowed/x y"),
        Job(code="", image="allowed/x?y"),
        Job(code="", environment={"A=B": "c"}),
        Job(code="", environment={"": "c"}),
        Job(code="", environment={"A": "b\0c"}),
    ],
)
async def test_jobs_that_contradict_themselves_are_refused(job: Job) -> None:
    with pytest.raises(Invalid):
        await world(*(Noting(name) for name in ALL)).run(job)


@pytest.mark.skipif(bool(no_bubblewrap()), reason=no_bubblewrap())
async def test_real_code_finds_its_tier() -> None:
    sandbox = Sandbox(SandboxSettings(tiers=("snippet", "sandbox")))
    try:
        pure = "def area(r):\n    return 3 * r * r\nresult = [area(r) for r in inputs['radii']]"
        assert (await sandbox.run(Job(code=pure, inputs={"radii": [1, 2]}))).tier == "snippet"
        classes = "class Shape(Exception):\n    pass\nimport csv\nresult = Shape.__mro__[1].__name__"
        done = await sandbox.run(Job(code=classes))
        assert (done.tier, done.result) == ("sandbox", "Exception")
        with pytest.raises(CodeFailed, match="ValueError: no") as caught:
            await sandbox.run(Job(code="\nraise ValueError('no')"))
        assert caught.value.line == 2
        assert [status.name for status in await sandbox.tiers() if status.available] == ["snippet", "sandbox"]
        assert shutil.which("bwrap")
    finally:
        await sandbox.close()
