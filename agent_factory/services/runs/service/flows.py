"""Workflow runs: waited for, let go on, and replayed."""

from typing import Any
from uuid import UUID

import msgspec

from agent_factory.database.models import RunRow, RunStatus
from agent_factory.kit import ids
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.runtime.flow.outcome import Completed, Failed, Waiting
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.queue import rerun
from agent_factory.security.auth import Actor
from agent_factory.services.runs.errors import NotRetryable, RunNotFound
from agent_factory.services.runs.rules import WORKFLOW
from agent_factory.services.runs.schemas import ReplayOut, Resume, RunOut
from agent_factory.services.runs.service.reading import found_run, get_run, show
from agent_factory.services.runs.service.turns import decide

ENDED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


async def settled(platform: Platform, actor: Actor, run_id: UUID, seconds: float) -> tuple[RunOut, bool]:
    """Show a workflow's run once it has ended or asks people, at the latest after `seconds`; tells whether it ended.

    Raises `RunNotFound`.
    """
    if seconds:
        await platform.queue.settled(actor.organization_id, run_id, seconds)
    async with platform.database.read(actor.organization_id) as session:
        run = await show(session, actor, await found_run(session, actor, run_id))
    return run, run.status in ENDED


async def resume(platform: Platform, actor: Actor, run_id: UUID, asked: Resume) -> LiveRun | None:
    """Let a run go on: an agent's by a decision, a workflow's that has failed or was cancelled as it is.

    Gives the agent's run. Raises `RunNotFound`, `RunNotWaiting`, `RunNotEnded`,
    `RunEnded`, or `Invalid` for a decision that is missing or out of place.
    """
    if (await _row(platform, actor, run_id)).kind == WORKFLOW:
        if asked.decision is not None:
            detail = "what a workflow asks is decided at /approvals"
            raise Invalid("A workflow's run takes no decision.", errors=[FieldError("/decision", detail)])
        await _resume(platform, actor, run_id)
        return None
    if asked.decision is None:
        raise Invalid("The run waits for a decision.", errors=[FieldError("/decision", "this field is required")])
    return await decide(platform, actor, run_id, approve=asked.decision == "approve")


async def retry(platform: Platform, actor: Actor, run_id: UUID) -> None:
    """Let a failed workflow run go on from the task that failed; raises `RunNotFound` or `NotRetryable`."""
    run = await _row(platform, actor, run_id)
    if run.kind != WORKFLOW:
        raise RunNotFound("Only a workflow's run is tried again.")
    if run.status != RunStatus.FAILED:
        raise NotRetryable(f"The run is {run.status}; only a failed one is tried again.")
    await _resume(platform, actor, run_id)


async def replay(platform: Platform, actor: Actor, run_id: UUID) -> ReplayOut:
    """Interpret a workflow's run again from its journal alone; nothing is called and nothing is written.

    Raises `RunNotFound`.
    """
    await _row(platform, actor, run_id)
    replayed = await rerun.replayed(platform.queue, actor.organization_id, run_id)
    match replayed.end:
        case Completed(output, labels):
            shown = msgspec.to_builtins(output)
            return _replay(run_id, replayed.same, "completed", output=shown, labels=list(labels))
        case Failed(problem, path):
            return _replay(run_id, replayed.same, "failed", error={**problem, "path": path})
        case Waiting():
            return _replay(run_id, replayed.same, "waiting")


def _replay(run_id: UUID, same: bool, status: str, **found: object) -> ReplayOut:
    none: dict[str, Any] = {"output": None, "labels": [], "error": None}
    return ReplayOut.model_validate({"run_id": run_id, "same": same, "status": status, **none, **found})


async def _row(platform: Platform, actor: Actor, run_id: UUID) -> RunRow:
    async with platform.database.read(actor.organization_id) as session:
        return await get_run(session, actor, run_id, "run")


async def _resume(platform: Platform, actor: Actor, run_id: UUID) -> None:
    await rerun.resume(platform.queue, actor.organization_id, run_id, by=ids.encode("usr", actor.user_id))
