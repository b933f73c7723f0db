"""The examples of the reference pages run as they stand there."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.services.gateway.conftest import Served

DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference"


@pytest.mark.parametrize("page", ["openai-api.md", "mcp.md"])
async def test_the_examples_of_a_page_run(served: Served, page: str, tmp_path: Path) -> None:
    await served.deploy("support", model="demo", tools=["calculator"])
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    script = "\n".join(blocks).replace("http://127.0.0.1:8080", served.root).replace("af_…", served.key)
    environment = {
        "PATH": os.environ["PATH"],  # noqa: TID251 - a child needs to find its interpreter
        "HOME": str(tmp_path),
        "OPENAI_BASE_URL": served.url,
        "OPENAI_API_KEY": served.key,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert out.decode().count("409.5") == {"openai-api.md": 3, "mcp.md": 1}[page], out.decode()
