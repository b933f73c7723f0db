"""What the guide to untrusted code shows is true."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from agent_factory.core.task import CodeLimits
from agent_factory.runtime.sandbox import Job, Sandbox, SandboxSettings
from agent_factory.runtime.sandbox.settings import KubernetesSettings, MostLimits
from tests.runtime.sandbox.conftest import ROOT, no_bubblewrap

PAGE = (ROOT / "docs/how-to/run-untrusted-code.md").read_text()


def fenced(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.mark.skipif(bool(no_bubblewrap()), reason=no_bubblewrap())
async def test_the_guides_code_runs() -> None:
    sandbox = Sandbox(SandboxSettings(tiers=("snippet", "sandbox")))
    try:
        items = [{"price": 3}, {"price": 1}, {"price": 7}]
        done = await sandbox.run(Job(code=fenced("python"), inputs={"items": items}))
        assert done.result == {"n": 3, "median": 3}
    finally:
        await sandbox.close()


def test_the_guides_role_is_valid_and_is_all_that_the_driver_asks_for() -> None:
    role = yaml.safe_load(fenced("yaml"))
    kubernetes_validate.validate(role, "1.37", strict=True)
    kinds = {kind for rule in role["rules"] for kind in rule["resources"]}
    driver = (Path(__file__).parents[3] / "agent_factory/runtime/sandbox/kubernetes.py").read_text()
    asked = set(re.findall(r'_path\("[\w./]+", "(\w+)"\)', driver))
    assert asked == kinds - {"pods/log"}


def test_the_guides_limits_are_the_defaults() -> None:
    limits, most = CodeLimits(), MostLimits()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+ \| [\d,]+) \|", PAGE, re.MULTILINE))
    shown = {name: tuple(float(n) for n in row.replace(",", "").split(" | ")) for name, row in rows.items()}
    assert shown == {name: (getattr(limits, name), getattr(most, name)) for name in CodeLimits.model_fields}


def test_the_guides_settings_exist() -> None:
    for name in re.findall(r"AF_SANDBOX__(\w+)", PAGE):
        first, _, rest = name.lower().partition("__")
        assert first in SandboxSettings.model_fields
        assert not rest or rest in KubernetesSettings.model_fields
    for name in re.findall(r"`…__(\w+)`", PAGE):
        assert name.lower() in KubernetesSettings.model_fields
