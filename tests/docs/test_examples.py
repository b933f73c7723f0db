"""Every example runs as it is, offline, with the demo."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent_factory.core.blueprint import Blueprint
from agent_factory.local import open_resources
from agent_factory.runtime.compile import compile_agent
from tests.docs.session import environment

ROOT = Path(__file__).parents[2]
BLUEPRINTS = sorted(ROOT.glob("examples/*.yaml"))
SCRIPTS = sorted(ROOT.glob("examples/*.py"))


@pytest.mark.parametrize("file", BLUEPRINTS, ids=[f.name for f in BLUEPRINTS])
async def test_an_example_can_be_run_as_it_stands(file: Path) -> None:
    async with open_resources() as resources:
        for agent in Blueprint.load(file).agents.values():
            compiled = await compile_agent(agent, resources, Blueprint.load(file).agents)
            assert compiled.model.name


@pytest.mark.parametrize("file", BLUEPRINTS, ids=[f.name for f in BLUEPRINTS])
def test_an_example_says_by_which_command_it_is_run(file: Path) -> None:
    assert f"agent-factory run examples/{file.name} " in file.read_text()


@pytest.mark.parametrize("file", SCRIPTS, ids=[f.name for f in SCRIPTS])
def test_a_script_runs(file: Path, tmp_path: Path) -> None:
    variables = environment(tmp_path, Path(sys.executable).parent, ROOT, 0)
    done = subprocess.run([sys.executable, file], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no language model" in done.stdout
