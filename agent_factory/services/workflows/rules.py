"""Pure decisions over workflows."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import msgspec

from agent_factory.api.etag import merge_patch
from agent_factory.core.agent import Agent
from agent_factory.core.schema import pointer
from agent_factory.core.workflow import pinned_name
from agent_factory.kit.errors import FieldError
from agent_factory.services.workflows.errors import NotForkable

AGENT_TOOL = "agent"
"""The tool that asks an agent; its setting `agent` names that one."""
DEEPEST = 10
"""Levels of workflows in each other; a run goes no deeper either."""
MOST_NAMED = 200
"""Agents and workflows that one workflow may bring along."""
MOST_FAULTS = 100
"""Names that lead nowhere and are told at once; more are not even looked up."""


class Placed(msgspec.Struct, frozen=True):
    """A task of a definition, or what undoes one, at a JSON pointer, as its author wrote it."""

    at: str
    task: dict[str, Any]

    @property
    def id(self) -> str:
        """The task's id; what undoes another has none."""
        return self.task.get("id", "")

    @property
    def type(self) -> str:
        """The task's type."""
        return self.task["type"]

    @property
    def config(self) -> Mapping[str, Any]:
        """The task's settings."""
        return self.task.get("config", {})


def placed(tasks: object, at: str = "/tasks") -> Iterator[Placed]:
    """Walk every task of a checked definition, with those inside others, in the order in which they stand."""
    for index, task in enumerate(cast("list[dict[str, Any]]", tasks)):
        here = f"{at}/{index}"
        undo = task.get("compensate")
        if undo is not None:
            yield Placed(f"{here}/compensate", undo)
        config: dict[str, Any] = task.get("config", {})
        yield Placed(here, task)
        match task["type"]:
            case "map" | "loop":
                yield from placed(config["tasks"], f"{here}/config/tasks")
            case "try":
                for part in ("tasks", "catch", "finally"):
                    yield from placed(config.get(part, []), f"{here}/config/{part}")
            case "parallel":
                for name, branch in config["branches"].items():
                    yield from placed(branch, here + pointer(["config", "branches", name]))
            case _:
                pass


def naming(tasks: Iterable[Placed]) -> tuple[Placed, ...]:
    """Pick the tasks that name an agent or a workflow."""
    return tuple(task for task in tasks if task.type in ("agent", "subworkflow") or _asks_agent(task))


def _asks_agent(task: Placed) -> bool:
    if task.type != "tool" or task.config["tool"].partition("/")[0] != AGENT_TOOL:
        return False
    return isinstance(task.config.get("config", {}).get("agent"), str)


def changed_config(task: Placed, changes: Mapping[str, Any], agents: Mapping[str, Agent]) -> dict[str, Any]:
    """Write a task's settings with another `prompt`, another `model`, or a merge patch of its `config`.

    `agents` are those that the run has pinned; one that gets another model
    becomes the task's own. Raises `NotForkable` for a change that the task has
    no place for.
    """
    config: dict[str, Any] = merge_patch(dict(task.config), changes.get("config") or {})
    prompt, model = changes.get("prompt"), changes.get("model")
    match task.type:
        case "ai_inference":
            config |= {k: v for k, v in (("prompt", prompt), ("model", model)) if v is not None}
        case "agent":
            if prompt is not None:
                config["message"] = prompt
            if model is not None:
                config["agent"] = {**_definition_of(config, agents), "model": model}
                config.pop("version", None)
        case other:
            for field in ("prompt", "model"):
                if changes.get(field) is not None:
                    raise refused(f"/changes/{field}", f"a task of the type {other!r} has no {field}")
    return config


def _definition_of(config: Mapping[str, Any], agents: Mapping[str, Agent]) -> dict[str, Any]:
    ref = config["agent"]
    if isinstance(ref, dict):
        return cast("dict[str, Any]", ref)
    pinned = agents.get(pinned_name(ref, config.get("version")))
    if pinned is None:
        raise refused("/changes/config/agent", f"the run has not pinned an agent {ref!r}; give its whole definition")
    return pinned.to_dict()


def refused(at: str, detail: str) -> NotForkable:
    """Say why a run cannot be forked so, at a pointer into what was asked for."""
    return NotForkable("The fork cannot be made; see the pointer.", errors=[FieldError(at, detail)])


def computed(text: object) -> bool:
    """Tell whether a value is known only to a run."""
    return isinstance(text, str) and "{{" in text
