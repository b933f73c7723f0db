"""One level of a running flow: which tasks are ready, which ways are dead, and what the ended ones left (S84, S89)."""

from collections import deque
from typing import Any

import msgspec

from agent_factory.core.graph import Graph, Node
from agent_factory.core.task import Goto
from agent_factory.runtime.flow.outcome import Outcome
from agent_factory.runtime.flow.variables import SKIPPED, Record, Ref, Shelf, Variables, as_item


class Undo(msgspec.Struct, frozen=True):
    """A completed task that its `try` compensates when it fails later."""

    node: Node
    path: str
    variables: Variables


class Level:
    """The tasks of one graph on their way.

    A task is ready when every way to it is decided and at least one was taken;
    it is skipped when none was, and so are those that only it leads to. What
    can be undone is noted in `undos`, those of the nearest `try` by their paths.
    """

    __slots__ = ("_left", "_taken", "graph", "labels", "prefix", "ready", "undos", "variables")

    def __init__(self, graph: Graph, outer: Variables, prefix: str, undos: dict[str, Undo] | None = None) -> None:
        """Begin with the tasks that nothing leads to."""
        self.graph = graph
        self.variables = outer.inside()
        self.prefix = prefix
        self.undos = undos
        self.labels: dict[str, None] = {}
        self.ready = deque(graph.entries)
        self._left = dict(graph.incoming)
        self._taken: set[str] = set()

    def ended(self, node: Node, outcome: Outcome) -> None:
        """Take the end of a task: later tasks see it, and what it leads to becomes ready or is skipped."""
        task_id = node.task.id
        output = read_output(outcome)
        self.variables.values[task_id] = Record(output=output, status=outcome.status, error=outcome.error)
        if node.undo is not None and self.undos is not None and outcome.status == "completed":
            path = self.prefix + task_id
            self.undos[path] = Undo(node, path, self.variables.inside({"result": output}))
        self.labels |= dict.fromkeys(outcome.labels)
        if outcome.status == "failed" and isinstance(node.task.on_error, Goto):
            goto = node.task.on_error.goto
            if node.on_error is None:
                self.labels[goto] = None
            self._decide(node, frozenset({goto}))
            return
        taken = node.ways
        self.labels |= dict.fromkeys(node.labels)
        if outcome.targets:
            self.labels |= dict.fromkeys(t for t in outcome.targets if t not in self.graph.nodes)
            taken = taken.union(outcome.targets)
        self._decide(node, taken)

    def failed(self, node: Node, error: dict[str, Any]) -> None:
        """Let those that catch a failure see which task it was."""
        self.variables.values[node.task.id] = Record(output=None, status="failed", error=error)

    def _decide(self, node: Node, taken: frozenset[str]) -> None:
        left = self._left
        dead: list[str] = []
        for target in node.targets:
            if target in taken:
                self._taken.add(target)
            left[target] -= 1
            if not left[target]:
                (self.ready if target in self._taken else dead).append(target)
        while dead:
            skipped = dead.pop()
            self.variables.values[skipped] = SKIPPED
            for target in self.graph.nodes[skipped].targets:
                left[target] -= 1
                if not left[target]:
                    (self.ready if target in self._taken else dead).append(target)

    async def output(self, shelf: Shelf) -> Any:  # noqa: ANN401 - any JSON value
        """Give what the last task gave, perhaps a reference; an object by their ids where several are last."""
        found = {i: self.variables.values[i] for i in self.graph.last if i in self.variables.values}
        if len(self.graph.last) == 1:
            return next((r["output"] for r in found.values()), None)
        return {i: await shelf.load(r["output"]) for i, r in found.items() if r["status"] == "completed"}


def read_output(outcome: Outcome) -> Any:  # noqa: ANN401 - any JSON value
    """Give the output of a task as variables hold it: the value, or a reference."""
    if not outcome.stored or isinstance(outcome.output, Ref):
        return outcome.output
    return as_item(outcome.output)
