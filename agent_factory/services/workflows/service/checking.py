"""Whether a definition can be run here; every fault has its JSON pointer (S83, S89)."""

from collections.abc import Iterable
from typing import Any, cast
from uuid import UUID

import msgspec

from agent_factory.core.model import UnknownModel
from agent_factory.core.schema import Schema
from agent_factory.core.workflow import Flow, Workflow
from agent_factory.database.session import ReadSession
from agent_factory.kit.errors import FieldError, Invalid, Problem
from agent_factory.runtime.compile import Resources
from agent_factory.security.auth import Actor
from agent_factory.services.agents import service as agents
from agent_factory.services.workflows.rules import Placed, computed, placed
from agent_factory.services.workflows.service.pinning import Names, Read, aside
from agent_factory.services.workflows.service.pinning import read as read_definition

_PUBLISHED = Schema(Workflow.json_schema())
"""What the document promises of a definition: `"3"` is no number, though a script may say so."""


async def checked(
    session: ReadSession, actor: Actor, resources: Resources, definition: dict[str, Any], own_id: UUID | None = None
) -> Read:
    """Read a definition; what is wrong with its graph is told first, then all names that lead nowhere.

    `own_id` is the workflow's own, where it is kept already. Agents and
    workflows have to exist; whether they are deployed is asked when a run starts.
    """
    read = await aside(len(msgspec.json.encode(definition)), read_definition, definition)
    if loose := _PUBLISHED.faults(definition):
        raise Invalid(f"{len(loose)} fault(s) in the workflow.", errors=loose)
    tasks = list(placed(definition["tasks"]))
    names = Names(session, actor, tried=True)
    await names.follow(read, (own_id,), "")
    faults = _own_name(read.flow, tasks)
    known = {fault.pointer for fault in faults}
    faults += [fault for fault in names.faults if fault.pointer not in known]
    faults += [*unknown_models(tasks, resources), *await _agents(session, actor, tasks, resources)]
    faults += await _tools(tasks, resources)
    if faults:
        raise Invalid(f"{len(faults)} fault(s) in the workflow.", errors=faults)
    return read


def _own_name(flow: Flow, tasks: Iterable[Placed]) -> list[FieldError]:
    """Find the workflow inside itself, where it has no id yet to be known by."""
    return [
        FieldError(f"{task.at}/config/workflow", f"the workflow {flow.workflow.name!r} would run inside itself")
        for task in tasks
        if task.type == "subworkflow" and task.config["workflow"] == flow.workflow.name
    ]


def unknown_models(tasks: Iterable[Placed], resources: Resources) -> list[FieldError]:
    """Find the models that nobody offers here, where no expression chooses them."""
    faults: list[FieldError] = []
    for task in tasks:
        model = task.config.get("model")
        if task.type == "ai_inference" and isinstance(model, str) and not computed(model):
            try:
                resources.models.resolve(model)
            except UnknownModel as problem:
                faults.append(FieldError(f"{task.at}/config/model", problem.detail))
    return faults


async def _agents(
    session: ReadSession, actor: Actor, tasks: Iterable[Placed], resources: Resources
) -> list[FieldError]:
    """Check the agents that are defined inside the workflow."""
    faults: list[FieldError] = []
    for task in tasks:
        found = task.config["agent"] if task.type == "agent" else None
        if isinstance(found, dict):
            try:
                await agents.checked(session, actor, resources, cast("dict[str, Any]", found))
            except Invalid as problem:
                faults += _below(f"{task.at}/config/agent", problem)
    return faults


async def _tools(tasks: Iterable[Placed], resources: Resources) -> list[FieldError]:
    faults: list[FieldError] = []
    for task in tasks:
        if task.type == "tool":
            try:
                plugin = resources.tools.get(task.config["tool"].partition("/")[0])
            except Problem as problem:
                faults.append(FieldError(f"{task.at}/config/tool", problem.detail))
                continue
            try:
                _chosen(await agents.tool_names(plugin, dict(task.config.get("config", {}))), task.config["tool"])
            except Problem as problem:
                faults += _below(f"{task.at}/config", problem)
    return faults


def _chosen(names: list[str], wanted: str) -> None:
    plugin, slash, name = wanted.partition("/")
    if not names or (slash and name in names) or (not slash and len(names) == 1):
        return
    known = ", ".join(f"{plugin}/{each}" for each in names)
    raise Invalid("The tool cannot be told.", errors=[FieldError("/tool", f"name one of: {known}")])


def _below(at: str, problem: Problem) -> list[FieldError]:
    return [FieldError(at + e.pointer, e.detail) for e in problem.errors] or [FieldError(at, problem.detail)]
