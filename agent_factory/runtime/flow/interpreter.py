"""Walks a workflow's graph: what is recorded is not done again, what waits holds nothing (S83-S89, S97)."""

import time
from collections import deque
from collections.abc import Awaitable
from typing import Any

import msgspec

from agent_factory.core.event import TaskFinished, TaskStarted
from agent_factory.core.graph import Node
from agent_factory.core.journal import Entry
from agent_factory.core.task import EFFECTS
from agent_factory.core.workflow import Flow
from agent_factory.kit.errors import Problem
from agent_factory.runtime.flow.containers import CONTAINERS, Box, Runner
from agent_factory.runtime.flow.context import FlowContext, TaskCall, read_outcome
from agent_factory.runtime.flow.hiding import hiding
from agent_factory.runtime.flow.level import Level, Undo, read_output
from agent_factory.runtime.flow.outcome import (
    Chosen,
    Completed,
    Ended,
    EndReached,
    Failed,
    FlowEnd,
    FlowLimit,
    InputInvalid,
    Outcome,
    Suspended,
    TaskError,
    TaskFailed,
    Waiting,
    failure,
)
from agent_factory.runtime.flow.pure import PURE
from agent_factory.runtime.flow.rendering import bounded, config_of, plain, preview, written
from agent_factory.runtime.flow.retrying import attempts
from agent_factory.runtime.flow.together import Together
from agent_factory.runtime.flow.variables import Ref, Variables
from agent_factory.runtime.flow.watched import Interrupted, WatchedFires, WatchedJournal, WatchedPayloads, WatchedWaits


async def interpret(flow: Flow, document: Any, context: FlowContext) -> FlowEnd:  # noqa: ANN401 - any JSON value
    """Run a workflow from its journal on; `document` is the run's input.

    Every finished task is recorded under its path, one with an effect durably
    before anything that follows from it starts. The output may be a
    `variables.Ref`. Nothing is raised for what tasks do wrong; a journal or
    store that cannot be used raises its `Problem`, and the run can be
    interpreted again.
    """
    context = msgspec.structs.replace(
        context,
        journal=WatchedJournal(context.journal),
        waits=WatchedWaits(context.waits),
        fires=WatchedFires(context.fires),
        payloads=WatchedPayloads(context.payloads),
        stack=context.stack or (flow.workflow.name,),
    )
    try:
        return await run_flow(context, flow, document, "")
    except Suspended as suspended:
        return Waiting(tuple(suspended.waits))
    except EndReached as reached:
        return reached.end
    except TaskFailed as failed:
        return Failed(failed.error, str(failed.error.get("path", "")))
    except Interrupted as interrupted:
        raise interrupted.reason from None


async def run_flow(context: FlowContext, flow: Flow, document: Any, prefix: str) -> Completed:  # noqa: ANN401 - any JSON value
    """Run a whole flow below a prefix of paths, and write its output."""
    at = prefix.removesuffix("/")
    faults = flow.input.faults(document) if flow.input is not None else []
    if faults:
        told = "; ".join(f"{f.pointer or '/'}: {f.detail}" for f in faults[:5])
        raise TaskFailed(failure(InputInvalid(f"The input does not fit: {told}.", errors=faults), at))
    variables = Variables({"input": document, "run": {"id": context.run_id, "name": flow.workflow.name}})
    level = Level(flow.graph, variables, prefix)
    await run_level(context, level)
    labels = tuple(level.labels)
    try:
        if flow.output is None:
            return Completed(await level.output(context.shelf), labels)
        seen = await level.variables.loaded(flow.reads, context.shelf)
        output, _ = await context.shelf.keep(bounded(context, flow.output, seen))
    except Problem as problem:
        raise TaskFailed(failure(problem, f"{prefix}output")) from None
    return Completed(output, labels)


async def run_level(context: FlowContext, level: Level) -> None:
    """Run the tasks of one level until all its paths have ended.

    Raises `TaskFailed` when one fails for good (what is running beside it is
    cancelled), and `Suspended` when nothing but waiting is left. What is
    recorded is taken first, so that a restart begins nothing that an earlier
    end has already stopped. A task that waits goes on as soon as something came
    for it, whatever runs beside it.
    """
    running: Together[str, Outcome] = Together(context)
    fresh: deque[Node] = deque()
    try:
        while True:
            _replay(context, level, fresh)
            if fresh and len(running) < context.limits.running:
                node = fresh.popleft()
                work = run_task(context, node, level.prefix + node.task.id, level.variables, level.undos)
                if fresh or running or running.holding:
                    running.start(node.task.id, work)
                    continue
                ended: Awaitable[Outcome] = work  # a task that runs by itself needs nobody to wait for it
            elif running and (one := await running.next()) is not None:
                node, ended = level.graph.nodes[one[0]], one[1]
            else:
                freed = running.freed()
                if not freed and not running:
                    break
                for task_id in freed:
                    await context.fires.reload(level.prefix + task_id)
                    fresh.append(level.graph.nodes[task_id])
                continue
            try:
                level.ended(node, await ended)
            except TaskFailed as failed:
                level.failed(node, failed.error)
                raise
            except Suspended as suspended:
                running.hold(node.task.id, suspended)
    finally:
        await running.close()
    if running.holding:
        raise Suspended(*running.waits)


def _replay(context: FlowContext, level: Level, fresh: deque[Node]) -> None:
    """Take the recorded ends of tasks that are ready; the others are put aside as fresh."""
    while level.ready:
        node = level.graph.nodes[level.ready.popleft()]
        recorded = context.journal.get(level.prefix + node.task.id)
        if recorded is None or _undoes(node):
            fresh.append(node)
        else:
            outcome = read_outcome(recorded)
            if outcome.error is not None:
                level.failed(node, outcome.error)
            level.ended(node, _known(node, outcome))


def _undoes(node: Node) -> bool:
    """Tell whether a container holds compensations: then it is walked again, to know what has to be undone."""
    return any(graph.undoes for graph in node.inner.values())


async def run_task(
    context: FlowContext, node: Node, path: str, variables: Variables, undos: dict[str, Undo] | None
) -> Outcome:
    """Run one task and record its end; what is recorded is only returned."""
    context.steps.count += 1
    if context.steps.count > context.limits.steps:
        limit = FlowLimit(f"The run has more than {context.limits.steps} tasks.")
        raise EndReached(Failed(failure(limit, path), path), whole=True)
    recorded = context.journal.get(path)
    if recorded is not None:
        outcome = read_outcome(recorded)
        if outcome.status == "completed" and _undoes(node):
            await _Work(context, node, path, undos).run(variables)
        return _known(node, outcome)
    started = time.monotonic()
    context.emit(TaskStarted(path, node.task.id, node.task.type))
    work = _Work(context, node, path, undos)
    outcome = await work.run(variables)
    elapsed = int((time.monotonic() - started) * 1000)
    await context.journal.put(
        Entry(
            path=path,
            kind="task",
            name=node.task.type,
            input=work.shown,
            output=msgspec.Raw(msgspec.json.encode(outcome)),
            is_error=outcome.status == "failed",
            duration_ms=elapsed,
        ),
        durable=node.task.type in EFFECTS,
    )
    context.emit(TaskFinished(path, node.task.id, node.task.type, outcome.status, elapsed, outcome.error))
    return _known(node, outcome)


def _known(node: Node, outcome: Outcome) -> Outcome:
    """Pass a failure on where the task's `on_error` does not take it, and the end of the run."""
    if outcome.end:
        if outcome.error is not None:
            raise EndReached(Failed(outcome.error, str(outcome.error.get("path", ""))))
        raise EndReached(Completed(read_output(outcome)))
    if outcome.status == "failed" and node.task.on_error == "fail":
        raise TaskFailed(outcome.error or {})
    return outcome


_NULL = msgspec.Raw(b"null")


class _Work:
    """One task being done: its texts written, its attempts made, its output written and kept."""

    __slots__ = ("_context", "_node", "_path", "_undos", "shown")

    def __init__(self, context: FlowContext, node: Node, path: str, undos: dict[str, Undo] | None) -> None:
        self._context = context
        self._node = node
        self._path = path
        self._undos = undos
        self.shown = _NULL

    async def run(self, variables: Variables) -> Outcome:
        """Do the task; what goes wrong is its outcome, too."""
        try:
            outcome, seen = await self._attempt(variables)
            return await self._kept(outcome, seen)
        except TaskFailed as failed:
            return Outcome(status="failed", error=failed.error)
        except Problem as problem:
            return Outcome(status="failed", error=failure(problem, self._path))

    async def _attempt(self, variables: Variables) -> tuple[Outcome, Variables]:
        context, node = self._context, self._node
        texts = node.texts
        seen = await variables.loaded(texts.reads, context.shelf) if texts.reads else variables
        if texts.input is not None:
            seen = seen.inside({"args": bounded(context, texts.input, seen)})
        elif node.task.input:
            seen = seen.inside({"args": node.task.input})
        container = CONTAINERS.get(node.task.type)
        if container is None:
            return await self._leaf(seen), seen
        raw = written(context, node, seen)
        self.shown = preview(raw, context.limits.preview_bytes)

        def inside(_number: int, place: str) -> Awaitable[Outcome]:
            return container(Box(context, node, self._path, place, seen, raw, self._undos, _RUNNER))

        return await attempts(context, node, self._path, inside), seen

    async def _leaf(self, seen: Variables) -> Outcome:
        context, node = self._context, self._node
        pure = PURE.get(node.task.type)
        leaf = pure or context.leaves.get(node.task.type)
        if leaf is None:
            raise TaskError(f"Tasks of the type {node.task.type!r} cannot run here.")
        raw, config = config_of(context, node, seen)
        self.shown = preview(raw, context.limits.preview_bytes)

        def once(number: int, place: str) -> Awaitable[Any]:
            call = TaskCall(context, node, self._path, place, number, seen, config)
            return leaf(call) if pure else hiding(leaf, call)

        result = await attempts(context, node, self._path, once, None if pure else context.slots)
        match result:
            case Chosen():
                return Outcome(output=result.target, targets=() if result.target is None else (result.target,))
            case Ended():
                status = "completed" if result.error is None else "failed"
                return Outcome(output=result.output, error=result.error, status=status, end=True)
            case _:
                return Outcome(output=result if pure else plain(result))

    async def _kept(self, outcome: Outcome, seen: Variables) -> Outcome:
        """Write the task's `output`, and put what is large into the store."""
        context, texts = self._context, self._node.texts
        output = outcome.output
        if texts.output is not None and outcome.status == "completed":
            after = await seen.inside({"result": output}).loaded(texts.output_reads, context.shelf)
            output = bounded(context, texts.output, after)
        if isinstance(output, Ref):
            return msgspec.structs.replace(outcome, output=output, stored=True)
        kept, _ = await context.shelf.keep(output)
        return msgspec.structs.replace(outcome, output=kept, stored=isinstance(kept, Ref))


_RUNNER = Runner(run_level, run_task, run_flow)
