"""The graph of a workflow: which task leads to which, and every fault in it (S83, S84, S89)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pydantic

from agent_factory.core.agent import Strict, invalid
from agent_factory.core.edges import ancestors, in_order, one_circle, sources_of
from agent_factory.core.names import RESERVED, Names
from agent_factory.core.task import (
    CONFIGS,
    EFFECTS,
    TEMPLATED,
    AgentTask,
    Compensation,
    Conditional,
    Goto,
    Loop,
    Map,
    Parallel,
    Subworkflow,
    Switch,
    Task,
    ToolTask,
    Transform,
    Try,
    Wait,
)
from agent_factory.core.texts import Compiler, Texts
from agent_factory.kit.errors import FieldError

MAX_FAULTS = 100


class WorkflowLimits(msgspec.Struct, frozen=True):
    """How large a definition may be: tasks in all, levels of tasks inside tasks, characters of its text."""

    tasks: int = 10_000
    nesting: int = 20
    characters: int = 10_000_000


class Node(msgspec.Struct, frozen=True):
    """A task with its checked configuration, its compiled texts and the ways out of it.

    `config` is `None` where only a run knows it. `ways` are taken whenever the
    task ends well, of `branches` only those that it chooses, `on_error` when it
    fails; `targets` are all of them, `labels` the terminal labels among `next`.
    `inner` are the graphs inside it, `undo` is its compensation.
    """

    task: Task
    config: Strict | None
    texts: Texts
    ways: frozenset[str] = frozenset()
    branches: frozenset[str] = frozenset()
    on_error: str | None = None
    targets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    inner: Mapping[str, "Graph"] = {}
    undo: "Node | None" = None


class Graph(msgspec.Struct, frozen=True):
    """The tasks of one level in the order of their definition.

    `incoming` counts the tasks that lead to each, `last` are those that lead
    nowhere, and `undoes` tells whether a compensation lies in it or below.
    """

    nodes: Mapping[str, Node]
    incoming: Mapping[str, int]
    entries: tuple[str, ...]
    last: tuple[str, ...]
    undoes: bool = False


_Places = Mapping[str, tuple[Task, str]]


class _Edges(msgspec.Struct):
    """The ways out of the tasks of a level, each as a set that keeps its order."""

    ways: dict[str, dict[str, None]]
    branches: dict[str, dict[str, None]]
    errors: dict[str, str | None]
    labels: dict[str, dict[str, None]]

    def targets(self, task_id: str) -> tuple[str, ...]:
        found = {**self.ways[task_id], **self.branches[task_id]}
        if (on_error := self.errors[task_id]) is not None:
            found[on_error] = None
        return tuple(found)


class Checker:
    """Builds graphs and collects faults on the way."""

    def __init__(self, terminals: Iterable[str], limits: WorkflowLimits) -> None:
        """Remember the labels that may be targets without being tasks."""
        self._terminals = frozenset(terminals)
        self._limits = limits
        self._ids: set[str] = set()
        self._items: list[tuple[str, str]] = []
        self.faults: list[FieldError] = []
        self.texts = Compiler(self.fault, self._ids.__contains__)

    def fault(self, at: str, detail: str) -> None:
        """Note a fault; what comes after the hundredth is left out."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(FieldError(at, detail))

    def finish(self) -> None:
        """Check what only the whole definition shows."""
        for name, at in self._items:
            if name in self._ids:
                self.fault(at, f"a task has the id {name!r}; call the item otherwise")

    def graph(self, tasks: Sequence[Task], at: str, seen: Names, depth: int = 0, *, tried: bool = False) -> Graph:
        """Check the tasks of one level; `seen` are the names that expressions may use from outside.

        `tried` tells that a failure is compensated: a `try` lies around.
        """
        if depth > self._limits.nesting:
            self.fault(at, f"tasks lie more than {self._limits.nesting} deep in each other")
            return Graph({}, {}, (), ())
        places = self._places(tasks, at)
        configs = {i: self._config(task.type, task.config, f"{place}/config") for i, (task, place) in places.items()}
        edges = self._edges(places, configs)
        sources = sources_of({i: edges.targets(i) for i in places})
        order = in_order(sources)
        self._circle(places, sources, order)
        index = {task_id: number for number, task_id in enumerate(places)}
        before = ancestors(order, sources, index)
        nodes: dict[str, Node] = {}
        for task_id, (task, place) in places.items():
            visible = seen.before(index, before.get(task_id, 0))
            config, _ = configs[task_id]
            inner, inside = self._inner(config, f"{place}/config", visible, depth + 1, tried)
            nodes[task_id] = Node(
                task=task,
                config=config,
                texts=self.texts.task(task, config, place, visible, inside),
                ways=frozenset(edges.ways[task_id]),
                branches=frozenset(edges.branches[task_id]),
                on_error=edges.errors[task_id],
                targets=edges.targets(task_id),
                labels=tuple(edges.labels[task_id]),
                inner=inner,
                undo=self._undo(task.id, task.compensate, f"{place}/compensate", visible, tried),
            )
        broken = any(config is None and not ok for config, ok in configs.values())
        return Graph(
            nodes,
            {i: len(s) for i, s in sources.items()},
            self._entries(places, sources, broken),
            tuple(i for i in places if not edges.targets(i)),
            undoes=any(n.undo is not None or any(g.undoes for g in n.inner.values()) for n in nodes.values()),
        )

    def _places(self, tasks: Sequence[Task], at: str) -> dict[str, tuple[Task, str]]:
        places: dict[str, tuple[Task, str]] = {}
        for index, task in enumerate(tasks):
            place = f"{at}/{index}"
            if task.id in RESERVED:
                self.fault(f"{place}/id", f"{task.id!r} has a meaning of its own; choose another id")
            if task.id in self._ids:
                self.fault(f"{place}/id", f"another task has the id {task.id!r}")
                continue
            self._ids.add(task.id)
            places[task.id] = (task, place)
            if task.type not in CONFIGS:
                self.fault(f"{place}/type", f"unknown type {task.type!r}; known are: {', '.join(CONFIGS)}")
        return places

    def _config(self, task_type: str, raw: Mapping[str, Any], at: str) -> tuple[Strict | None, bool]:
        """Read a config; gives `None` where it is faulty (then `False` comes with it) or only a run can know it."""
        shape = CONFIGS.get(task_type)
        if shape is None:
            return None, False
        try:
            config = shape.model_validate(raw)
        except pydantic.ValidationError as error:
            fields = TEMPLATED.get(task_type, frozenset())
            computed = {_pointer(e["loc"]) for e in error.errors() if e["loc"][0] in fields and _computed(e["input"])}
            faults = [f for f in invalid(error).errors if f.pointer not in computed]
            for found in faults:
                self.fault(at + found.pointer, found.detail)
            return None, not faults
        return config, self._sound(config, at)

    def _sound(self, config: Strict, at: str) -> bool:
        """Check what the shape of a config cannot say."""
        count = len(self.faults)
        match config:
            case Wait() if len(config.model_fields_set & {"seconds", "until", "event"}) != 1:
                self.fault(at, "a wait has exactly one of `seconds`, `until` and `event`")
            case Transform() if len(config.model_fields_set & {"value", "expression", "jsonpath"}) != 1:
                self.fault(at, "a transform has exactly one of `value`, `expression` and `jsonpath`")
            case AgentTask() if isinstance(config.agent, str):
                self._fixed(config.agent, f"{at}/agent")
            case ToolTask():
                self._fixed(config.tool, f"{at}/tool")
            case Subworkflow():
                self._fixed(config.workflow, f"{at}/workflow")
            case Parallel():
                for name in config.branches.keys() & RESERVED:
                    self.fault(f"{at}/branches/{name}", f"{name!r} has a meaning of its own; call the branch otherwise")
            case Map() if config.as_ in RESERVED:
                self.fault(f"{at}/as", f"{config.as_!r} has a meaning of its own; call the item otherwise")
            case Map():
                self._items.append((config.as_, f"{at}/as"))
            case _:
                pass
        return len(self.faults) == count

    def _fixed(self, name: str, at: str) -> None:
        if _computed(name):
            self.fault(at, "what a run uses is fixed when it starts, so this name cannot be computed")

    def _edges(self, places: _Places, configs: Mapping[str, tuple[Strict | None, bool]]) -> _Edges:
        edges = _Edges({i: {} for i in places}, {i: {} for i in places}, dict.fromkeys(places), {i: {} for i in places})
        for task_id, (task, place) in places.items():
            for pointer, target in _branches(configs[task_id][0]):
                if self._target(target, places, f"{place}/config{pointer}"):
                    edges.branches[task_id][target] = None
            if isinstance(task.on_error, Goto) and self._target(task.on_error.goto, places, f"{place}/on_error/goto"):
                edges.errors[task_id] = task.on_error.goto
            for index, target in enumerate(task.next):
                pointer = f"{place}/next" if len(task.next) == 1 else f"{place}/next/{index}"
                if self._target(target, places, pointer):
                    edges.ways[task_id][target] = None
                elif target in self._terminals:
                    edges.labels[task_id][target] = None
        self._dependencies(places, edges)
        return edges

    def _dependencies(self, places: _Places, edges: _Edges) -> None:
        """Add the reverse of `depends_on`, but where a branch or an error leads the same way: then that decides."""
        for task_id, (task, place) in places.items():
            for index, source in enumerate(task.depends_on):
                if source not in places:
                    self.fault(f"{place}/depends_on/{index}", f"there is no task {source!r} here")
                elif task_id not in edges.branches[source] and task_id != edges.errors[source]:
                    edges.ways[source][task_id] = None

    def _target(self, target: str, places: _Places, at: str) -> bool:
        if target in places:
            return True
        if target not in self._terminals:
            self.fault(at, f"there is no task {target!r} here; define it, or list it in `terminals` if a path ends so")
        return False

    def _circle(self, places: _Places, sources: Mapping[str, set[str]], order: Sequence[str]) -> None:
        stuck = sources.keys() - set(order)
        if stuck:
            circle = one_circle(stuck, sources)
            told = " → ".join([*circle, circle[0]]) if len(circle) <= 20 else f"{len(circle)} tasks"  # noqa: PLR2004 - as many as are still read
            self.fault(places[circle[0]][1], f"tasks lead to each other in a circle: {told}")

    def _entries(self, places: _Places, sources: Mapping[str, set[str]], broken: bool) -> tuple[str, ...]:
        """List the tasks that begin; with a broken config some ways are not known, and nothing is unreachable."""
        needed = {d for task, _ in places.values() for d in task.depends_on}
        entries: list[str] = []
        for index, (task_id, (task, place)) in enumerate(places.items()):
            if sources[task_id]:
                continue
            if index and not broken and task_id not in needed and "depends_on" not in task.model_fields_set:
                self.fault(
                    place, f"nothing leads to {task_id!r}; name it in `next`, or give it `depends_on: []` to start with"
                )
            entries.append(task_id)
        return tuple(entries)

    def _inner(
        self, config: Strict | None, at: str, visible: Names, depth: int, tried: bool
    ) -> tuple[Mapping[str, Graph], Names]:
        """Check the levels inside a task; gives the names that its own inner texts see, too."""

        def level(*extra: str) -> Names:
            return Names(frozenset({"args", *extra}), visible)

        match config:
            case Parallel():
                return {
                    name: self.graph(tasks, f"{at}/branches/{name}", level(), depth, tried=tried)
                    for name, tasks in config.branches.items()
                }, visible
            case Map():
                own = (config.as_, "index")
                graph = self.graph(config.tasks, f"{at}/tasks", level(*own), depth, tried=tried)
                return {"": graph}, level(*own, *graph.nodes)
            case Loop():
                own = ("iteration", "results")
                graph = self.graph(config.tasks, f"{at}/tasks", level(*own), depth, tried=tried)
                return {"": graph}, level(*own, *graph.nodes)
            case Try():
                graph = self.graph(config.tasks, f"{at}/tasks", level(), depth, tried=True)
                caught = level("error", *graph.nodes)
                catch = self.graph(config.catch, f"{at}/catch", caught, depth, tried=tried)
                final = self.graph(config.finally_, f"{at}/finally", caught, depth, tried=tried)
                return {"": graph, "catch": catch, "finally": final}, level("error", *graph.nodes, *catch.nodes)
            case _:
                return {}, visible

    def _undo(self, task_id: str, compensate: Compensation | None, at: str, visible: Names, tried: bool) -> Node | None:
        if compensate is None:
            return None
        if not tried:
            self.fault(at, "no `try` lies around this task, so nothing would ever be compensated")
        if compensate.type not in EFFECTS:
            self.fault(f"{at}/type", f"a compensation is one of: {', '.join(sorted(EFFECTS))}")
            return None
        config, _ = self._config(compensate.type, compensate.config, f"{at}/config")
        texts = self.texts.undo(compensate.config, compensate.type, f"{at}/config", visible)
        task = Task.model_construct(
            {"id", "type", "config"},
            id=f"{task_id}/undo",
            type=compensate.type,
            config=compensate.config,
            retry=compensate.retry,
            timeout=compensate.timeout,
        )
        return Node(task, config, texts)


def _branches(config: Strict | None) -> list[tuple[str, str]]:
    """List pointer and target of the branches of a conditional or switch."""
    found: list[tuple[str, str]] = []
    if isinstance(config, Conditional):
        found = [(f"/conditions/{i}/then", c.then) for i, c in enumerate(config.conditions)]
    elif isinstance(config, Switch):
        found = [(f"/cases/{_escaped(k)}", t) for k, t in config.cases.items()]
    if isinstance(config, Conditional | Switch) and config.default is not None:
        found.append(("/default", config.default))
    return found


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")


def _pointer(steps: Iterable[str | int]) -> str:
    return "".join(f"/{_escaped(s)}" for s in steps)


def _computed(value: object) -> bool:
    """Tell whether a text holds an expression, so that only a run knows what it says."""
    return isinstance(value, str) and "{{" in value and "}}" in value[value.index("{{") :]
