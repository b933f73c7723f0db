"""Commands as a person runs them: the installed script, in a clean environment."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).parent / "agent-factory"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables for a command: no model, no server, a home of its own."""
    return {
        "PATH": f"{SCRIPT.parent}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "AF_HOME": str(tmp_path / "state"),
        # no Ollama of this machine takes part
        "AF_MODELS__OLLAMA_URL": "http://127.0.0.1:9",
        "LC_ALL": "C.UTF-8",
    }


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Command:
    """Run `agent-factory` to its end, stdin closed unless given."""

    def run(
        *arguments: str, stdin: str = "", cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env={**environment, **(env or {})},
            cwd=cwd or tmp_path,
            check=False,
            timeout=50,
        )

    return run
