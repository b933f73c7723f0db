"""Any JSON and any text is a workflow, or is refused with its faults by pointer; a workflow of pure tasks ends.

Takes libFuzzer's options, such as `-max_total_time=600` and a folder for the corpus.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["agent_factory.core", "agent_factory.runtime.flow"]):
    from agent_factory.core import document
    from agent_factory.core.journal import MemoryJournal
    from agent_factory.core.task import CONFIGS
    from agent_factory.core.workflow import flow_of, read_workflow
    from agent_factory.kit.errors import FieldError, Invalid
    from agent_factory.runtime.flow.context import FlowContext, FlowLimits
    from agent_factory.runtime.flow.interpreter import interpret
    from agent_factory.runtime.flow.outcome import Failed

IDS = ["a", "b", "c", "d", "input", "done"]
FIELDS = sorted({field.alias or name for shape in CONFIGS.values() for name, field in shape.model_fields.items()})
TEXTS = ["{{ a.output }}", "{{ input }}", "input > 1", "{{ range(3) }}", "error.code", "$.a[?@ > 1]", "true", "", *IDS]
LIMITS = FlowLimits(steps=200, map_items=20, load_bytes=100_000, sleep_seconds=0)


class Maker:
    """Makes a definition of bytes: each choice takes a few."""

    def __init__(self, data: bytes) -> None:
        self._data = atheris.FuzzedDataProvider(data)

    def pick(self, choices: list[Any]) -> Any:  # noqa: ANN401 - whatever the choices are
        """Choose one."""
        return choices[self._data.ConsumeIntInRange(0, len(choices) - 1)]

    def chance(self) -> bool:
        """Decide, rather against."""
        return self._data.ConsumeIntInRange(0, 3) == 0

    def value(self, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        """Make any JSON value."""
        kind = self._data.ConsumeIntInRange(0, 7 if depth < 4 else 4)  # noqa: PLR2004 - deeper ones are only slower
        match kind:
            case 0:
                return self.pick([None, True, False, -1, 2**63, 1.5])
            case 1 | 2 | 3:
                return self.pick(TEXTS)
            case 4:
                return self._data.ConsumeIntInRange(0, 5)
            case 5:
                return {self.pick(IDS): self.value(depth + 1) for _ in range(self._data.ConsumeIntInRange(0, 2))}
            case 6:
                return [self.value(depth + 1) for _ in range(self._data.ConsumeIntInRange(0, 3))]
            case _:
                return self.tasks(depth + 1)

    def tasks(self, depth: int) -> list[Any]:
        """Make a level of tasks."""
        return [self.task(depth) for _ in range(self._data.ConsumeIntInRange(1, 3))]

    def task(self, depth: int) -> Any:  # noqa: ANN401 - mostly a task
        """Make a task, or something in its place."""
        if self.chance() and self.chance():
            return self.value(depth)
        task: dict[str, Any] = {"id": self.pick(IDS), "type": self.pick([*CONFIGS, "nope"])}
        task["config"] = {self.pick(FIELDS): self.value(depth) for _ in range(self._data.ConsumeIntInRange(0, 3))}
        for field in ("next", "depends_on", "on_error", "retry", "input", "output", "compensate", "timeout"):
            if self.chance():
                task[field] = self.pick([self.value(depth), [self.pick(IDS)], {"goto": self.pick(IDS)}, "continue"])
        return task

    def definition(self) -> dict[str, Any]:
        """Make a definition."""
        return {"name": "x", "tasks": self.tasks(0), "terminals": ["done"], "output": self.value(3)}


def faults_of(read: Callable[[], object]) -> list[FieldError]:
    """Read something, and give what is wrong with it."""
    try:
        read()
    except Invalid as error:
        return error.errors or [FieldError("no pointer", "")]
    return []


def one(data: bytes) -> None:
    """Try one definition, as data and as a text."""
    definition = Maker(data).definition()
    faults = faults_of(lambda: flow_of(definition))
    assert all(not f.pointer or f.pointer.startswith("/") for f in faults)
    if not faults:
        flow = flow_of(definition)
        assert read_workflow(document.write_json(flow.workflow.to_dict())) == flow.workflow
        end = asyncio.run(interpret(flow, 1, FlowContext(journal=MemoryJournal(), limits=LIMITS)))
        assert not isinstance(end, Failed) or end.problem["code"] != "task_broken", end
    text = data.decode(errors="replace")
    assert all(not f.pointer or f.pointer.startswith("/") for f in faults_of(lambda: read_workflow(text)))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
