"""The short form of the coverage-guided fuzzing; the long one runs by its own verb."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris")

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("harness", ["expressions", "definitions"])
def test_nothing_that_a_stranger_writes_breaks_the_reader(harness: str) -> None:
    """Abuse cases 49 and 50."""
    command = [sys.executable, "-m", f"fuzz.{harness}", "-runs=1000", "-timeout=10", "-seed=1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
