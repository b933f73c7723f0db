"""What a rerun from one task keeps: every row that is neither that task's nor downstream of it."""

import re
from collections.abc import Callable

import msgspec

from agent_factory.core.graph import Graph, Node
from agent_factory.core.workflow import Flow
from agent_factory.kit.errors import NotFound

Affected = Callable[[str], bool]

_STEP = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(#[0-9]+)?(?:\[([0-9]+)\])?(?:/(.*))?\Z", re.DOTALL)


class _Step(msgspec.Struct, frozen=True):
    """A level on the way to the task: the node on it, what is downstream of that, and which graph inside comes next."""

    node: Node
    after: frozenset[str]
    key: str = ""


def downstream(flow: Flow, task_id: str) -> Affected:
    """Make a test of journal paths: true for the rows that a rerun from this task does anew.

    The task may lie inside containers; then those are done anew around it: of
    a map every item from this task on, of a loop everything after it and all
    later iterations, of a try what its end decides. Raises `NotFound`.
    """
    trail = _trail(flow.graph, task_id)
    if trail is None:
        raise NotFound(f"The workflow has no task {task_id!r}.")

    def affected(path: str) -> bool:
        rest = path
        for step in trail:
            found = _STEP.match(rest)
            if found is None:
                return True
            name, attempt, index, rest = found.groups()
            if step is trail[-1] or name != step.node.task.id:
                return name in step.after
            # A container around the task: its own rows, and those of later attempts, are done anew.
            if attempt or not rest:
                return True
            decided, rest = _inside(step, index, rest)
            if decided is not None:
                return decided
        return True

    return affected


def _inside(step: _Step, index: str | None, rest: str) -> tuple[bool | None, str]:
    """Decide about a row inside a container, or tell where in the level inside it lies."""
    match step.node.task.type:
        case "loop":
            return (None if index == "0" else True), rest
        case "parallel":
            branch, _, rest = rest.partition("/")
            return (None if branch == step.key else False), rest
        case "try":
            return _inside_try(step.key, rest)
        case _:
            return None, rest


def _inside_try(key: str, rest: str) -> tuple[bool | None, str]:
    part = next((name for name in ("catch", "finally") if rest.startswith(f"{name}/")), "")
    order = ["", "catch", "finally"]
    if part == "" and "undo" in rest.split("/"):
        return key == "", rest
    if part != key:
        return order.index(part) > order.index(key), rest
    return None, rest.removeprefix(f"{part}/") if part else rest


def _trail(graph: Graph, task_id: str) -> list[_Step] | None:
    if task_id in graph.nodes:
        return [_Step(graph.nodes[task_id], _reached(graph, task_id))]
    for node in graph.nodes.values():
        for key, inner in node.inner.items():
            below = _trail(inner, task_id)
            if below is not None:
                return [_Step(node, _reached(graph, node.task.id), key), *below]
    return None


def _reached(graph: Graph, task_id: str) -> frozenset[str]:
    found = {task_id: None}
    todo = [task_id]
    while todo:
        for target in graph.nodes[todo.pop()].targets:
            if target not in found:
                found[target] = None
                todo.append(target)
    return frozenset(found)
