"""Tasks that hold tasks: parallel, map, loop, try and subworkflow (S86, S87)."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import msgspec

from agent_factory.core.graph import Node
from agent_factory.core.journal import Entry
from agent_factory.core.task import Loop, Map, Subworkflow, Try
from agent_factory.core.workflow import Flow, pinned_name
from agent_factory.kit.errors import Problem
from agent_factory.runtime.flow.collecting import Collector
from agent_factory.runtime.flow.context import FlowContext, read_outcome
from agent_factory.runtime.flow.level import Level, Undo
from agent_factory.runtime.flow.outcome import (
    CompensationFailed,
    Completed,
    EndReached,
    Failed,
    FlowLimit,
    Outcome,
    Recursion,
    TaskError,
    TaskFailed,
    failure,
)
from agent_factory.runtime.flow.rendering import bounded
from agent_factory.runtime.flow.together import for_each
from agent_factory.runtime.flow.variables import Items, Record, Ref, Variables


class Runner(msgspec.Struct, frozen=True):
    """How what lies inside a container is run: a level, one task by itself, a whole flow below a prefix."""

    level: Callable[[FlowContext, Level], Awaitable[None]]
    task: Callable[[FlowContext, Node, str, Variables, dict[str, Undo] | None], Awaitable[Outcome]]
    flow: Callable[[FlowContext, Flow, Any, str], Awaitable[Completed]]


class Box(msgspec.Struct, frozen=True):
    """One attempt at a container: what it holds lies below `place` and sees `variables`.

    `rendered` are the written fields of its config, `undos` what the nearest
    `try` around it has to undo.
    """

    context: FlowContext
    node: Node
    path: str
    place: str
    variables: Variables
    rendered: Mapping[str, Any]
    undos: dict[str, Undo] | None
    run: Runner

    def inside(self, key: str, prefix: str, values: dict[str, Any] | None = None) -> Level:
        """Begin a level inside."""
        return Level(self.node.inner[key], self.variables.inside(values), f"{self.place}{prefix}", self.undos)

    async def output_of(self, level: Level, values: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - any JSON value
        """Write what one item, iteration or `try` gives: its `output`, else what its last task gave."""
        texts = self.node.texts
        shelf = self.context.shelf
        if texts.each is None:
            return await level.output(shelf)
        variables = await level.variables.inside(values).loaded(texts.inner_reads, shelf)
        return bounded(self.context, texts.each, variables)


Container = Callable[[Box], Awaitable[Outcome]]


async def parallel(box: Box) -> Outcome:
    """Run branches side by side."""
    levels: dict[str, Level] = {}

    async def branch(name: str) -> None:
        levels[name] = box.inside(name, f"/{name}/")
        await box.run.level(box.context, levels[name])

    names = list(box.node.inner)
    await for_each(box.context, names, branch, lambda name: f"{box.place}/{name}/", len(names))
    shelf = box.context.shelf
    output = {name: await shelf.load(await levels[name].output(shelf)) for name in names}
    return Outcome(output=output, labels=_labels(levels[name] for name in names))


def _labels(levels: Any) -> tuple[str, ...]:  # noqa: ANN401 - levels, of any collection
    return tuple(dict.fromkeys(label for level in levels for label in level.labels))


async def map_(box: Box) -> Outcome:
    """Run the same tasks for each item, a few at once."""
    config = cast("Map", box.node.config)
    items = await _items(box)
    if not isinstance(items, list):
        raise TaskError("A map goes over a list; `items` gave something else.")
    many = cast("list[Any]", items)
    if len(many) > box.context.limits.map_items:
        raise FlowLimit(f"The map has {len(many)} items; at most {box.context.limits.map_items} are possible.")
    collector = Collector(len(many), box.context.shelf)
    labels: dict[str, None] = {}

    async def one(index: int) -> None:
        outcome, size = await _item(box, index, many[index], collector)
        collector.recorded(index, outcome, size)
        labels.update(dict.fromkeys(outcome.labels))

    await for_each(box.context, range(len(many)), one, lambda index: f"{box.place}[{index}]", config.concurrency)
    return Outcome(output=await collector.finish(), labels=tuple(labels))


async def _items(box: Box) -> Any:  # noqa: ANN401 - any JSON value, hopefully a list
    """Give the items; where they are the whole output of a task, large ones stay in the store until their turn."""
    name = box.node.texts.items_of
    if name is None:
        return box.rendered.get("items")
    record = box.variables.get(name)
    if isinstance(record, Record):
        return await box.context.shelf.load(record["output"], deep=False)
    return record.get("output") if isinstance(record, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - any JSON value


async def _item(box: Box, index: int, item: Any, collector: Collector) -> tuple[Outcome, int]:  # noqa: ANN401 - any JSON value
    """Do one item, or take what is recorded of it; gives its end and the bytes of its output."""
    config = cast("Map", box.node.config)
    context = box.context
    path = f"{box.place}[{index}]"
    recorded = context.journal.get(path)
    if recorded is not None and not box.node.inner[""].undoes:
        return read_outcome(recorded), len(recorded.output)
    started = time.monotonic()
    value = await context.shelf.load(item) if isinstance(item, Ref) else item
    own = {config.as_: value, "index": index}
    level = box.inside("", f"[{index}]/", own)
    try:
        await box.run.level(context, level)
        output, data = await collector.keep(await box.output_of(level))
        outcome = Outcome(output=output, stored=isinstance(output, Ref), labels=tuple(level.labels))
    except Problem as problem:
        outcome, data = _collected(config, failure(problem, path), problem), b"null"
    except TaskFailed as failed:
        outcome, data = _collected(config, failed.error, failed), b"null"
    if recorded is None:
        await context.journal.put(_item_entry(path, outcome, started), durable=False)
    return outcome, len(data)


def _collected(config: Map, error: dict[str, Any], cause: Exception) -> Outcome:
    if config.on_item_error == "fail":
        raise cause
    return Outcome(status="failed", error=error)


def _item_entry(path: str, outcome: Outcome, started: float) -> Entry:
    return Entry(
        path=path,
        kind="task",
        name="map",
        input=msgspec.Raw(b"null"),
        output=msgspec.Raw(msgspec.json.encode(outcome)),
        is_error=outcome.status == "failed",
        duration_ms=int((time.monotonic() - started) * 1000),
    )


async def loop(box: Box) -> Outcome:
    """Run the same tasks again and again."""
    config = cast("Loop", box.node.config)
    collector = Collector(0, box.context.shelf)
    labels: dict[str, None] = {}
    last = box.variables
    for iteration in range(config.max_iterations):
        own = {"iteration": iteration, "results": Items(collector.values)}
        if not await _holds(box, "/while", last.inside(own), default=True):
            break
        level = box.inside("", f"[{iteration}]/", own)
        await box.run.level(box.context, level)
        output, data = await collector.keep(await box.output_of(level))
        collector.add(iteration, output, len(data))
        labels |= level.labels
        last = level.variables
        if await _holds(box, "/until", last.inside({"results": Items(collector.values)}), default=False):
            break
    return Outcome(output=await collector.finish(), labels=tuple(labels))


async def _holds(box: Box, which: str, variables: Variables, *, default: bool) -> bool:
    expression = box.node.texts.expressions.get(which)
    if expression is None:
        return default
    return bool(expression(await variables.loaded(box.node.texts.inner_reads, box.context.shelf)))


async def try_(box: Box) -> Outcome:
    """Run tasks; when one fails undo the completed ones and run `catch`, and in any case `finally`."""
    undos: dict[str, Undo] = {}
    graph = box.node.inner[""]
    level = Level(graph, box.variables, f"{box.place}/", undos)
    first: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    ended = level
    try:
        try:
            await box.run.level(box.context, level)
        except TaskFailed as failed:
            first = failed.error
            ended, error = await _rescue(box, level, undos, first)
    except EndReached:
        await _finally(box, level, None)
        raise
    final = await _finally(box, level, first)
    if error is not None:
        raise TaskFailed(error)
    if box.undos is not None and first is None:
        box.undos.update(undos)
    output = await box.output_of(ended, {"error": first})
    return Outcome(output=output, labels=_labels([level, ended, final]))


async def _rescue(
    box: Box, level: Level, undos: dict[str, Undo], error: dict[str, Any]
) -> tuple[Level, dict[str, Any] | None]:
    """Undo and catch; gives the level that ended the `try`, and the error that is left, if any."""
    stuck = await _undo(box, undos)
    if stuck:
        detail = f"After {error.get('path')} had failed, these could not be undone: {', '.join(stuck)}."
        return level, failure(CompensationFailed(detail), box.path)
    config = cast("Try", box.node.config)
    if not config.catch:
        return level, error
    seen = level.variables.inside({"error": error})
    caught = Level(box.node.inner["catch"], seen, f"{box.place}/catch/", box.undos)
    try:
        await box.run.level(box.context, caught)
    except TaskFailed as failed:
        return level, failed.error
    return caught, None


async def _undo(box: Box, undos: dict[str, Undo]) -> list[str]:
    """Undo what has completed, the last first; gives the paths of those that could not be."""
    stuck: list[str] = []
    for undo in reversed(undos.values()):
        assert undo.node.undo is not None
        variables = undo.variables
        if undo.node.texts.input is not None:
            seen = await variables.loaded(undo.node.texts.reads, box.context.shelf)
            variables = variables.inside({"args": undo.node.texts.input(seen)})
        elif undo.node.task.input:
            variables = variables.inside({"args": undo.node.task.input})
        try:
            await box.run.task(box.context, undo.node.undo, f"{undo.path}/undo", variables, None)
        except TaskFailed:
            stuck.append(undo.path)
    return stuck


async def _finally(box: Box, level: Level, error: dict[str, Any] | None) -> Level:
    seen = level.variables.inside({"error": error})
    final = Level(box.node.inner["finally"], seen, f"{box.place}/finally/", box.undos)
    await box.run.level(box.context, final)
    return final


async def subworkflow(box: Box) -> Outcome:
    """Run another workflow inside this one, as it was pinned when the run started."""
    config = cast("Subworkflow", box.node.config) if box.node.config else Subworkflow.model_validate(box.rendered)
    context = box.context
    key = pinned_name(config.workflow, config.version)
    around = [name.partition("@")[0] for name in context.stack]
    if config.workflow in around:
        raise Recursion(f"It would run inside itself: {' → '.join([*context.stack, key])}.")
    if len(context.stack) > context.limits.depth:
        raise FlowLimit(f"Workflows run at most {context.limits.depth} deep in each other.")
    flow = context.flows.get(key)
    if flow is None:
        raise TaskError(f"The workflow {key!r} was not pinned when this run started.")
    inner = msgspec.structs.replace(context, stack=(*context.stack, key))
    try:
        end = await box.run.flow(inner, flow, box.rendered.get("input", {}), f"{box.place}/")
    except EndReached as reached:
        if reached.whole:
            raise
        if isinstance(reached.end, Failed):
            raise TaskFailed(reached.end.problem) from None
        end = reached.end
    return Outcome(output=end.output)


CONTAINERS: Mapping[str, Container] = {
    "parallel": parallel,
    "map": map_,
    "loop": loop,
    "try": try_,
    "subworkflow": subworkflow,
}
