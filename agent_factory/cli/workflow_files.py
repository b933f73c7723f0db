"""Workflows from files, alone or in a blueprint, with the agents and workflows that they name."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import typer

from agent_factory.cli.problems import Refused
from agent_factory.core import document
from agent_factory.core.agent import Agent
from agent_factory.core.blueprint import Blueprint
from agent_factory.core.schema import pointer
from agent_factory.core.task import AiInference, ToolTask
from agent_factory.core.workflow import Flow, all_nodes, compile_workflow, flow_of, mentions, read_definition
from agent_factory.kit.errors import FieldError, Invalid, Problem

if TYPE_CHECKING:
    from agent_factory.runtime.compile import Resources


class Bundle(msgspec.Struct, frozen=True):
    """A workflow, and what it may name, by name."""

    flow: Flow
    agents: dict[str, Agent]
    flows: dict[str, Flow]


def read(file: Path, name: str | None = None, more: Sequence[Path] = ()) -> Bundle:
    """Read the workflow of a file, or the named one of several; `more` files have what it names, too.

    Raises `Refused` with a pointer for every fault.
    """
    flows, agents = _read(file)
    chosen = _pick(flows, name, file)
    for other in more:
        found, team = _read(other)
        flows, agents = {**found, **flows}, {**team, **agents}
    return Bundle(chosen, agents, flows)


def definitions(file: Path) -> list[dict[str, Any]]:
    """Read the workflows of a file as plain data, so that each comes after those that it names."""
    flows, _ = _read(file)
    if not flows:
        raise Refused(f"{file}: there is no workflow in it.")
    ordered: dict[str, Flow] = {}
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in flows and name not in seen:
            seen.add(name)
            for named, _ in sorted(mentions(flows[name]).workflows, key=str):
                visit(named)
            ordered[name] = flows[name]

    for name in flows:
        visit(name)
    return [flow.workflow.to_dict() for flow in ordered.values()]


def _read(file: Path) -> tuple[dict[str, Flow], dict[str, Agent]]:
    try:
        found = read_definition(file.read_text(encoding="utf-8"))
        if isinstance(found, dict) and "apiVersion" not in found and "tasks" in found:
            flow = flow_of(cast("object", found))
            return {flow.workflow.name: flow}, {}
        blueprint = Blueprint.load(file)
        flows = {key: compile_workflow(workflow) for key, workflow in blueprint.workflows.items()}
    except UnicodeDecodeError:
        raise Refused(f"{file}: this is no text in UTF-8.") from None
    except Problem as problem:
        raise Refused(f"{file}: {problem.detail}", errors=problem.errors) from None
    return flows, dict(blueprint.agents)


def _pick(flows: dict[str, Flow], name: str | None, file: Path) -> Flow:
    if not flows:
        raise Refused(f"{file}: there is no workflow in it; it needs a name and tasks.")
    if name is None:
        called = {named for flow in flows.values() for named, _ in mentions(flow).workflows}
        tops = [flow for key, flow in flows.items() if key not in called]
        if len(tops) == 1:
            return tops[0]
    elif name in flows:
        return flows[name]
    reason = "choose one of several workflows" if name is None else f"there is no workflow {name!r}"
    raise typer.BadParameter(f"{reason}: {', '.join(flows)}", param_hint="--workflow")


def check(bundle: Bundle, resources: "Resources") -> None:
    """Raise `Refused` for every name that leads nowhere: of agents, workflows, tools and models."""
    faults: list[FieldError] = []
    todo, seen = [bundle.flow], {bundle.flow.workflow.name}
    while todo:
        flow = todo.pop()
        inside = "" if flow is bundle.flow else f"in the workflow {flow.workflow.name!r}: "
        faults += [FieldError(at, inside + told) for at, told in _missing(flow, bundle, resources)]
        for name, _ in mentions(flow).workflows:
            if name in bundle.flows and name not in seen:
                seen.add(name)
                todo.append(bundle.flows[name])
    if faults:
        raise Refused(f"{len(faults)} fault(s) in the workflow.", errors=faults)


def _missing(flow: Flow, bundle: Bundle, resources: "Resources") -> Iterator[tuple[str, str]]:
    known = {"agent": bundle.agents, "workflow": bundle.flows}
    for node in all_nodes(flow.graph):
        at = _place(flow, node.task.id)
        what = {"agent": "agent", "subworkflow": "workflow"}.get(node.task.type)
        name = node.task.config.get(what) if what else None
        if what and isinstance(name, str) and name not in known[what]:
            yield f"{at}/config/{what}", f"there is no {what} {name!r} in these files; add its file by --with"
        yield from _unknown(node.config, at, resources)


def _unknown(config: object, at: str, resources: "Resources") -> Iterator[tuple[str, str]]:
    try:
        if isinstance(config, ToolTask):
            resources.tools.get(config.tool.partition("/")[0])
        elif isinstance(config, AiInference):
            resources.models.resolve(config.model)
    except Problem as problem:
        yield f"{at}/config/{'tool' if isinstance(config, ToolTask) else 'model'}", problem.detail


def _place(flow: Flow, task: str) -> str:
    """Find the pointer of a task; ids are unique in one definition."""
    todo: list[tuple[list[str | int], Any]] = [(["tasks"], flow.workflow.to_dict()["tasks"])]
    while todo:
        path, part = todo.pop()
        if isinstance(part, dict):
            fields = cast("dict[str, Any]", part)
            if fields.get("id") == task and "type" in fields:
                return pointer(path)
            todo += [([*path, key], value) for key, value in fields.items()]
        elif isinstance(part, list):
            items = cast("list[Any]", part)
            todo += [([*path, index], value) for index, value in enumerate(items)]
    return "/tasks"


def read_input(text: str | None) -> Any:  # noqa: ANN401 - any JSON value
    """Read a run's input: JSON or YAML, or by `@file` what is in a file, `@-` for stdin.

    Raises `Refused` for what is neither, and for a file that cannot be read.
    """
    if text is None:
        return None
    where = "--input"
    if text.startswith("@"):
        where = text[1:]
        try:
            text = typer.get_text_stream("stdin").read() if where == "-" else Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{where} cannot be read: {error}.") from None
    try:
        return document.read(text)
    except Invalid as problem:
        raise Refused(f"{where}: this is no JSON. {problem.detail}", errors=problem.errors) from None
