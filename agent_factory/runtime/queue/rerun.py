"""Runs once more: resumed where they failed, forked with something changed, replayed without doing a thing."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.agent import Agent
from agent_factory.core.journal import MemoryJournal
from agent_factory.core.task import EFFECTS
from agent_factory.core.workflow import Flow
from agent_factory.kit.errors import Conflict, Kind, Problem
from agent_factory.runtime.errors import RunEnded
from agent_factory.runtime.flow.context import FlowContext, TaskCall
from agent_factory.runtime.flow.forking import downstream
from agent_factory.runtime.flow.interpreter import interpret
from agent_factory.runtime.flow.outcome import Completed, Failed, FlowEnd
from agent_factory.runtime.queue.queue import Queue, Started, StartRun
from agent_factory.runtime.queue.rows import FlowRun, Known, read_entries, read_paths
from agent_factory.runtime.queue.snapshots import Pinned
from agent_factory.runtime.queue.statements import COPY_STEPS, RESUME


class RunNotEnded(Conflict):
    """Only what has ended can go on again."""

    code = "run_not_ended"
    title = "The run has not ended"


class NotReplayed(Problem):
    """A replay that would have to do something: what the run did there is not recorded."""

    kind = Kind.CONFLICT
    code = "not_recorded"
    title = "The journal does not tell"


async def resume(queue: Queue, organization_id: UUID, run_id: UUID, *, by: str = "") -> None:
    """Let a failed run go on from the task that failed, a cancelled one from where it was.

    What else is recorded is not done again; of a `try` everything inside is,
    for what it had done is undone. `by` is noted. Raises `RunNotFound`,
    `RunNotEnded`, or `RunEnded` for a completed run.
    """
    run = await queue.run(organization_id, run_id)
    if run.status == "completed":
        raise RunEnded("The run is completed; fork it to run it from one of its tasks.")
    if not run.ended:
        raise RunNotEnded(f"The run is {run.status}; it goes on by itself.")
    known = await read_paths(queue.pool, organization_id, run_id)
    failed = str((run.problem() or {}).get("path", "")) if run.status == "failed" else ""
    # The number after the run's end, so that watchers who have seen that see what follows.
    number = (known[-1].ord if known else 0) + 2
    gone = anew(known, failed)
    rows = await queue.pool.fetch(RESUME, run_id, organization_id, run.status, run.epoch, gone, number, [failed, by])
    if not rows:
        raise RunNotEnded("Somebody has let the run go on already.")
    queue.nudge()
    queue.pokes.poke(run_id)


def anew(known: list[Known], failed: str) -> list[str]:
    """List the recorded steps that have to be done again where a task failed: it, all inside it and all around it."""
    if not failed:
        return []
    undone = [one.path for one in known if one.name == "try" and _inside(failed, one.path)]
    return [
        one.path
        for one in known
        if _inside(one.path, failed) or _inside(failed, one.path) or any(_inside(one.path, u) for u in undone)
    ]


def _inside(path: str, outer: str) -> bool:
    """Tell whether a path is another one, or lies in it."""
    return path.startswith(outer) and path[len(outer) : len(outer) + 1] in ("", "/", "[", "#")


class Fork(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be run again from one task on, with something changed.

    What is left out stays as it was: `input` is the run's input, `flow` the
    whole definition, `agents` and `flows` replace what is pinned under their
    names. Tasks that differ in the new definition are done again, too, with
    all that follows from them.
    """

    organization_id: UUID
    run_id: UUID
    task: str
    input: Any = msgspec.UNSET
    flow: Flow | None = None
    agents: Mapping[str, Agent] = {}
    flows: Mapping[str, Flow] = {}
    id: UUID | None = None
    user_id: UUID | None = None
    key_id: UUID | None = None
    priority: int | None = None
    source: str = "api"


async def fork(queue: Queue, asked: Fork) -> Started:
    """Queue a new run with the journal of another, but for the task and what follows from it.

    Raises `RunNotFound`, and `NotFound` for a task that the workflow does not have.
    """
    run = await queue.run(asked.organization_id, asked.run_id)
    old = await queue.snapshots.read(asked.organization_id, run.snapshot)
    pinned = Pinned(asked.flow or old.flow, {**old.agents, **asked.agents}, {**old.flows, **asked.flows})
    known = await read_paths(queue.pool, asked.organization_id, asked.run_id)
    kept = _kept(known, old.flow, pinned.flow, asked.task)
    start = StartRun(
        organization_id=asked.organization_id,
        flow=pinned.flow,
        input=run.document() if asked.input is msgspec.UNSET else asked.input,
        agents=pinned.agents,
        flows=pinned.flows,
        id=asked.id,
        workflow_id=run.workflow_id,
        workflow_version=run.workflow_version if asked.flow is None else None,
        user_id=asked.user_id,
        key_id=asked.key_id,
        priority=run.priority if asked.priority is None else asked.priority,
        trigger="fork",
        source=asked.source,
        forked_from=run.id,
    )
    return await queue.start_with(start, pinned, COPY_STEPS, run.id, kept)


def _kept(known: list[Known], old: Flow, new: Flow, task: str) -> list[str]:
    changed = [name for name, node in new.graph.nodes.items() if _differs(old, name, node.task)]
    tests = [downstream(new, name) for name in dict.fromkeys((task, *changed))]
    return [
        one.path
        for one in known
        if one.kind != "resume" and _root(one.path) in new.graph.nodes and not any(test(one.path) for test in tests)
    ]


def _differs(old: Flow, name: str, task: object) -> bool:
    return name not in old.graph.nodes or old.graph.nodes[name].task != task


def _root(path: str) -> str:
    return path.partition("/")[0].partition("[")[0].partition("#")[0]


class Replay(msgspec.Struct, frozen=True):
    """What a run comes to from its journal alone, and whether that is what it had come to."""

    end: FlowEnd
    same: bool


async def replayed(queue: Queue, organization_id: UUID, run_id: UUID) -> Replay:
    """Interpret a run again from its journal; no model, tool or server is called, and nothing is written.

    A task that is not recorded fails with `not_recorded`. Raises `RunNotFound`.
    """
    run = await queue.run(organization_id, run_id)
    pinned = await queue.snapshots.read(organization_id, run.snapshot)
    known = await read_paths(queue.pool, organization_id, run_id)
    journal = MemoryJournal()
    journal.entries = await read_entries(queue.pool, organization_id, run_id, [one.path for one in known])
    context = FlowContext(
        journal=journal,
        run_id=str(run_id),
        organization_id=str(organization_id),
        payloads=queue.payloads(organization_id),
        agents=pinned.agents,
        flows=pinned.flows,
        leaves=dict.fromkeys(EFFECTS, _refuse),
    )
    end = await interpret(pinned.flow, run.document(), context)
    return Replay(end, _same(end, run))


async def _refuse(call: TaskCall) -> Any:  # noqa: ANN401 - as every leaf
    raise NotReplayed(f"What {call.path!r} did is not recorded.")


def _same(end: FlowEnd, run: FlowRun) -> bool:
    match end:
        case Completed(output):
            return run.status == "completed" and msgspec.to_builtins(output) == run.result()
        case Failed(problem, path):
            return run.status == "failed" and {**problem, "path": path} == run.problem()
        case _:
            return run.status not in ("completed", "failed")
