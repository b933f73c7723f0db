"""A run made again from one of its tasks on, with another input, prompt, model or definition."""

from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.workflow import Flow, mentions, pinned_name
from agent_factory.kit.errors import FieldError, Invalid, NotFound
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.queue import rerun
from agent_factory.runtime.queue.snapshots import Pinned as Snapshot
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.workflows.errors import NotForkable
from agent_factory.services.workflows.rules import changed_config, placed, refused
from agent_factory.services.workflows.schemas import ForkIn
from agent_factory.services.workflows.service.checking import checked, unknown_models
from agent_factory.services.workflows.service.naming import check_names
from agent_factory.services.workflows.service.pinning import Pinned, Read, pin_definition, read
from agent_factory.services.workflows.service.starting import Started, check_input


async def fork(platform: Platform, actor: Actor, run_id: UUID, asked: ForkIn) -> Started:
    """Queue a new run with the journal of another, but for the task `from` and what follows from it.

    Raises `RunNotFound`, `Denied`, `NotForkable` for a task or change that does not fit,
    or `Invalid` with pointers below `/changes/definition`.
    """
    organization_id = actor.organization_id
    run = await platform.queue.run(organization_id, run_id)
    rbac.check(actor, "workflow:run", run.workflow_id)
    old = await platform.queue.snapshots.read(organization_id, run.snapshot)
    pinned = await _changed(platform, actor, old, asked, run.workflow_id)
    if "input" in asked.model_fields_set:
        check_input(pinned, asked.input)
    wanted = rerun.Fork(
        organization_id=organization_id,
        run_id=run_id,
        task=asked.from_,
        input=asked.input if "input" in asked.model_fields_set else msgspec.UNSET,
        flow=None if pinned.flow is old.flow else pinned.flow,
        agents=pinned.agents,
        flows=pinned.flows,
        user_id=actor.user_id,
        key_id=actor.key_id,
        priority=asked.priority,
    )
    try:
        started = await rerun.fork(platform.queue, wanted)
    except NotFound as problem:
        if type(problem) is not NotFound:
            raise
        raise NotForkable(problem.detail, errors=[FieldError("/from", problem.detail)]) from None
    return Started(started.id, started.new, run.workflow_id, None)


async def _changed(platform: Platform, actor: Actor, old: Snapshot, asked: ForkIn, own_id: UUID | None) -> Pinned:
    """Give what the fork runs; `agents` and `flows` are only those that are not pinned yet."""
    changes = asked.changes.model_dump(exclude_none=True) if asked.changes else {}
    if not changes:
        return Pinned(old.flow, {}, {})
    async with platform.database.read(actor.organization_id) as session:
        if "definition" in changes:
            rbac.check(actor, "workflow:create")
            try:
                found = await checked(session, actor, platform.resources, changes["definition"], own_id)
                await check_names(session, actor, changes["definition"], old.flow.workflow.to_dict())
                return await pin_definition(session, actor, found, own_id)
            except Invalid as problem:
                below = [FieldError(f"/changes/definition{e.pointer}", e.detail) for e in problem.errors]
                raise NotForkable(problem.detail, errors=below) from None
        changed = _with(platform, old, asked.from_, changes)
        await check_names(session, actor, changed.flow.workflow.to_dict(), old.flow.workflow.to_dict())
        if _pinned_already(changed.flow, old):
            return Pinned(changed.flow, {}, {})
        try:
            found = await pin_definition(session, actor, changed, own_id)
        except Invalid as problem:
            raise refused("/changes", "; ".join(e.detail for e in problem.errors)) from None
    return Pinned(
        changed.flow,
        {name: agent for name, agent in found.agents.items() if name not in old.agents},
        {name: each for name, each in found.flows.items() if name not in old.flows},
    )


def _with(platform: Platform, old: Snapshot, task_id: str, changes: dict[str, Any]) -> Read:
    """Give the pinned definition with one task's settings changed."""
    definition = old.flow.workflow.to_dict()
    task = next((each for each in placed(definition["tasks"]) if each.id == task_id), None)
    if task is None:
        raise refused("/from", f"the workflow has no task {task_id!r}")
    task.task["config"] = changed_config(task, changes, old.agents)
    try:
        changed = read(definition)
    except Invalid as problem:
        raise refused("/changes", "; ".join(f"{e.pointer}: {e.detail}" for e in problem.errors)) from None
    faults = unknown_models([task], platform.resources)
    if faults:
        raise refused("/changes/model", faults[0].detail)
    return changed


def _pinned_already(flow: Flow, old: Snapshot) -> bool:
    named = mentions(flow)
    return all(pinned_name(*each) in old.agents for each in named.agents) and all(
        pinned_name(*each) in old.flows for each in named.workflows
    )
