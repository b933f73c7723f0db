"""A workflow as a definition, in the specification's format (S83-S90, S99-S104)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import pydantic
from pydantic import Field

from agent_factory.core import document
from agent_factory.core.agent import Strict, digest, invalid
from agent_factory.core.graph import Checker, Graph, Node, WorkflowLimits
from agent_factory.core.names import ALWAYS, Names
from agent_factory.core.schema import Schema
from agent_factory.core.task import CONFIGS, TEMPLATED, AgentTask, Name, Subworkflow, Tasks, Template, ToolTask
from agent_factory.core.template import Renderer
from agent_factory.kit.errors import FieldError, Invalid


class Trigger(Strict):
    """What starts a workflow (S90, S100)."""

    type: Literal["webhook", "cron", "queue", "event", "manual"] = "manual"
    config: dict[str, Any] = Field(default={})


class Workflow(Strict):
    """A graph of tasks.

    `terminals` are labels at which a path may end without a task. `input` is a
    JSON Schema of what a run is given. `output` is written when all paths have
    ended, and sees every task; without it a run gives what its last task gave,
    or an object by their ids where several are last.
    """

    id: str = Field(default="", max_length=200)
    name: str = Field(min_length=1, max_length=200)
    version: str = Field(default="1.0", max_length=50)
    description: str = Field(default="", max_length=10_000)
    trigger: Trigger = Trigger()
    input: dict[str, Any] | None = None
    tasks: Tasks
    output: Template = None
    terminals: tuple[Name, ...] = Field(default=(), max_length=1_000)
    metadata: dict[str, str] = Field(default={})

    def to_dict(self) -> dict[str, Any]:
        """Give the definition as plain JSON data, exactly the fields that were set."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)

    @property
    def digest(self) -> str:
        """Name the content: SHA-256 over the canonical JSON, in hex."""
        return digest(self.to_dict())

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Give the JSON Schema (2020-12) of a workflow file, for editors; each type has its own `config`."""
        schema = cls.model_json_schema(by_alias=True)
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        schema["title"] = "Agent Factory workflow"
        describe_tasks(schema)
        return schema


def describe_tasks(schema: dict[str, Any]) -> None:
    """Tell a JSON Schema that has a `Task` what each type of task takes as its `config`."""
    for shape in CONFIGS.values():
        found = shape.model_json_schema(by_alias=True)
        schema["$defs"] = {**found.pop("$defs", {}), shape.__name__: found, **schema["$defs"]}
    # What an expression gives, only a run knows.
    computed = {"type": "string", "pattern": r"\{\{.*\}\}"}
    for name, fields in TEMPLATED.items():
        properties = schema["$defs"][CONFIGS[name].__name__]["properties"]
        for field in fields:
            properties[field] = {"anyOf": [properties[field], computed]}
    task = schema["$defs"]["Task"]
    task["properties"]["type"] = {"enum": list(CONFIGS)}
    task["allOf"] = [
        {
            "if": {"properties": {"type": {"const": name}}},
            "then": {"properties": {"config": {"$ref": f"#/$defs/{shape.__name__}"}}},
        }
        for name, shape in CONFIGS.items()
    ]


def write_schema(path: Path) -> None:
    """Write the published JSON Schema of workflows to a file."""
    path.write_text(document.write_json(Workflow.json_schema()), encoding="utf-8")


class Flow(msgspec.Struct, frozen=True):
    """A checked workflow, ready to be interpreted; `reads` are the names that its `output` uses."""

    workflow: Workflow
    graph: Graph
    input: Schema | None
    output: Renderer | None
    reads: frozenset[str]


def read_workflow(text: str, limits: WorkflowLimits | None = None) -> Workflow:
    """Read a definition from the text of a JSON or YAML file; see `parse_workflow`."""
    return parse_workflow(read_definition(text, limits), limits)


def read_definition(text: str, limits: WorkflowLimits | None = None) -> object:
    """Read the text of a JSON or YAML file as data that may be as large as a workflow, without checking it."""
    limits = limits or WorkflowLimits()
    # Each level of tasks takes five levels of JSON, and half of a definition's characters are never all nodes.
    return document.read(
        text, characters=limits.characters, depth=64 + 5 * limits.nesting, nodes=max(200_000, limits.characters // 4)
    )


def parse_workflow(found: object, limits: WorkflowLimits | None = None) -> Workflow:
    """Check a definition; every fault is named by a JSON pointer in one `Invalid`."""
    return flow_of(found, limits).workflow


def flow_of(found: object, limits: WorkflowLimits | None = None) -> Flow:
    """Check a definition that is JSON data, and make it ready; raises one `Invalid` with every fault."""
    limits = limits or WorkflowLimits()
    _measure(found, limits)
    try:
        workflow = Workflow.model_validate(found)
    except pydantic.ValidationError as error:
        raise invalid(error) from None
    return compile_workflow(workflow, limits)


def compile_workflow(workflow: Workflow, limits: WorkflowLimits | None = None) -> Flow:
    """Check the graph with everything in it, and make it ready; raises one `Invalid` with every fault."""
    checker = Checker(workflow.terminals, limits or WorkflowLimits())
    graph = checker.graph(workflow.tasks, "/tasks", Names(ALWAYS))
    reads: set[str] = set()
    everything = Names(ALWAYS | graph.nodes.keys())
    output = checker.texts.whole(workflow.output, "/output", everything, reads)
    schema = _input(workflow.input, checker)
    checker.finish()
    if checker.faults:
        raise Invalid(f"{len(checker.faults)} fault(s) in the workflow.", errors=checker.faults)
    return Flow(workflow, graph, schema, output, frozenset(reads))


def _input(schema: dict[str, Any] | None, checker: Checker) -> Schema | None:
    if schema is None:
        return None
    try:
        return Schema(schema)
    except Invalid as error:
        checker.fault("/input", error.errors[0].detail)
        return None


_LEVELS = ("tasks", "config", "catch", "finally")


def _measure(found: object, limits: WorkflowLimits) -> None:
    """Refuse what is too large before anything is made of it."""
    count = 0
    todo = [found]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            fields = cast("dict[str, object]", part)
            todo += [fields[key] for key in _LEVELS if key in fields]
            branches = fields.get("branches")
            if isinstance(branches, dict):
                todo += cast("dict[str, object]", branches).values()
        elif isinstance(part, list):
            tasks = cast("list[object]", part)
            count += len(tasks)
            todo += tasks
        if count > limits.tasks:
            raise Invalid(
                "The workflow is too large.", errors=[FieldError("/tasks", f"more than {limits.tasks} tasks in all")]
            )


class Mentions(msgspec.Struct, frozen=True):
    """What a workflow names and a run of it pins: agents and workflows by name and version, and tools."""

    agents: frozenset[tuple[str, int | None]]
    workflows: frozenset[tuple[str, int | None]]
    tools: frozenset[str]


def mentions(flow: Flow) -> Mentions:
    """List what a workflow names, at every level of it."""
    agents: set[tuple[str, int | None]] = set()
    workflows: set[tuple[str, int | None]] = set()
    tools: set[str] = set()
    for node in all_nodes(flow.graph):
        match node.config or CONFIGS[node.task.type].model_construct(**_plain(node.task.config)):
            case AgentTask(agent=str(name), version=version):
                agents.add((name, version))
            case Subworkflow(workflow=name, version=version):
                workflows.add((name, version))
            case ToolTask(tool=name):
                tools.add(name)
            case _:
                pass
    return Mentions(frozenset(agents), frozenset(workflows), frozenset(tools))


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {str(k): v for k, v in config.items()}


def all_nodes(graph: Graph) -> Iterator[Node]:
    """Walk every task of a graph, with compensations and those inside others."""
    for node in graph.nodes.values():
        yield node
        if node.undo is not None:
            yield node.undo
        for inner in node.inner.values():
            yield from all_nodes(inner)


def pinned_name(name: str, version: int | None) -> str:
    """Give the name under which a run keeps an agent or workflow that a task names: `triage`, or `triage@3`."""
    return name if version is None else f"{name}@{version}"
