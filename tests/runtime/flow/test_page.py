"""The page on workflows: every example is a workflow, and those that touch nothing run."""

import re
from pathlib import Path
from typing import Any

import pytest

from agent_factory.core import document
from agent_factory.core.functions import FUNCTIONS
from agent_factory.core.journal import MemoryJournal
from agent_factory.core.task import CONFIGS, Task
from agent_factory.core.workflow import Workflow, all_nodes, flow_of
from agent_factory.runtime.flow.context import FlowContext
from agent_factory.runtime.flow.interpreter import interpret
from agent_factory.runtime.flow.outcome import Completed

PAGE = (Path(__file__).parents[3] / "docs/reference/workflows.md").read_text()
EXAMPLES: list[str] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
RUN = [text for text in EXAMPLES if text.startswith("# input: ")]


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_a_workflow(text: str) -> None:
    flow_of(document.read(text))


@pytest.mark.parametrize("text", RUN)
async def test_an_example_gives_what_the_page_says(text: str) -> None:
    given, expected = (document.read(line.partition(": ")[2]) for line in text.splitlines()[:2])
    end = await interpret(flow_of(document.read(text)), given, FlowContext(journal=MemoryJournal()))
    assert isinstance(end, Completed)
    assert end.output == expected


def test_every_type_has_an_example_of_its_own() -> None:
    sections = {
        s.partition("\n")[0]: s for s in PAGE.partition("## Types")[2].partition("\n## ")[0].split("\n### ")[1:]
    }
    assert sections.keys() == CONFIGS.keys()
    for name, section in sections.items():
        examples: list[Any] = [document.read(text) for text in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)]
        assert any(node.task.type == name for e in examples for node in all_nodes(flow_of(e).graph)), name


def test_every_field_and_function_is_on_the_page() -> None:
    for shape in (Workflow, Task):
        assert [f for f in shape.model_fields if f"`{f}`" not in PAGE] == []
    listed = re.search(r"these functions: `([^`]+)`", PAGE)
    assert listed is not None
    assert listed.group(1).split() == sorted(FUNCTIONS)
