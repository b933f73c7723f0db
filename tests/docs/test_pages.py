"""What the documentation shows is what happens: every command of its pages is run (S9, S59)."""

import re
import shutil
import socket
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.docs.session import Shell, blocks, differs, environment, steps

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/tutorials/*.md")), *sorted(ROOT.glob("docs/how-to/*.md"))]


@pytest.fixture
def shell(tmp_path: Path) -> Generator[Shell, None, None]:
    """A reader's folder: the examples, and nothing set up."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    scripts = Path(sys.executable).parent
    opened = Shell(tmp_path, scripts, environment(tmp_path, scripts, ROOT, port), port)
    yield opened
    opened.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_the_commands_of_a_page_show_what_the_page_says(shell: Shell, page: Path) -> None:
    faults: list[str] = []
    for block in blocks(page.read_text()):
        if block.save_as is not None:
            shell.save(block)
        elif block.language == "console":
            for step in steps(block):
                fault = differs(step.shown, shell.run(step.command))
                if fault is not None:
                    faults.append(f"$ {step.command}\n{fault}")
    assert not faults, "\n\n".join(faults)


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    code = next(b.text for b in blocks((ROOT / "README.md").read_text()) if b.language == "python")
    said: list[str] = []
    exec(compile(code, "README.md", "exec"), {"print": said.append, "__name__": "readme"})  # noqa: S102 - our own page
    assert "12 in stock" in said[0]


def test_links_between_pages_lead_somewhere() -> None:
    missing = [
        f"{page.name}: {target}"
        for page in [*PAGES, ROOT / "CONTRIBUTING.md"]
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert missing == []
