"""Runs, as they are kept."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from agent_factory.database.models import RunRow, RunStatus
from agent_factory.database.session import ReadSession
from agent_factory.kit.pages import Page, page
from agent_factory.runtime.flow.context import FlowLimits
from agent_factory.runtime.flow.variables import Ref, Shelf
from agent_factory.runtime.payloads import PayloadLost
from agent_factory.runtime.platform import Platform
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.runs import queries
from agent_factory.services.runs.errors import RunHasNoOutput, RunNotFound, StepNotFound, ValueGone, ValueTooLarge
from agent_factory.services.runs.queries import Seen, Wanted
from agent_factory.services.runs.rules import (
    WORKFLOW,
    WaitView,
    money,
    run_out,
    step_out,
    stored_output,
    stored_result,
    subject_of,
)
from agent_factory.services.runs.schemas import RunOut, StepOut


async def found_run(session: ReadSession, actor: Actor, run_id: UUID) -> RunRow:
    """Find a run for a caller who began it, or was let to it; raises `RunNotFound`."""
    row = await queries.run_row(session, actor, run_id)
    if row is None:
        raise RunNotFound("There is no such run, or it is not yours.")
    return row


async def get_run(session: ReadSession, actor: Actor, run_id: UUID, verb: str = "read") -> RunRow:
    """Find a run of an agent or workflow that the caller may read, or `run`; raises `RunNotFound` or `Denied`."""
    row = await found_run(session, actor, run_id)
    noun, resource = subject_of(row)
    rbac.check(actor, f"{noun}:{verb}", resource)
    return row


def sees_all(actor: Actor) -> bool:
    """Tell whether a caller may read every run."""
    return rbac.may(actor, "agent:read") and rbac.may(actor, "workflow:read")


async def list_runs(session: ReadSession, actor: Actor, limit: int, after: UUID | None, wanted: Wanted) -> Page[RunRow]:
    """List the runs that the caller may see, newest first."""
    seen = Seen(rbac.reach(actor, "agent:read"), rbac.reach(actor, "workflow:read"))
    return await queries.runs(session, actor, limit, after, wanted=wanted, seen=seen)


async def show(session: ReadSession, actor: Actor, row: RunRow) -> RunOut:
    """Show a run with what it waits for."""
    return (await show_all(session, actor, [row]))[0]


async def show_all(session: ReadSession, actor: Actor, rows: Sequence[RunRow]) -> list[RunOut]:
    """Show runs with what each waits for."""
    waiting = [row.id for row in rows if row.kind == WORKFLOW and row.status == RunStatus.WAITING]
    waits: dict[UUID, list[WaitView]] = {}
    for wait in await queries.waits(session, actor, waiting) if waiting else ():
        waits.setdefault(wait.run_id, []).append(wait)
    return [RunOut(**run_out(row, waits.get(row.id, ()))) for row in rows]


async def list_steps(session: ReadSession, actor: Actor, run_id: UUID, limit: int, after: UUID | None) -> Page[StepOut]:
    """List a run's steps, in order; of a workflow's, large values are shown by their beginning.

    Raises `RunNotFound`.
    """
    run = await get_run(session, actor, run_id)
    rows = await queries.steps(session, actor, run_id, limit + 1, after.int if after else 0)
    found = page(rows, limit, UUID(int=rows[limit - 1].ord) if len(rows) > limit else None)
    flow = run.kind == WORKFLOW
    failed = await queries.failed_attempts(session, actor, run_id, [r.path for r in found.data]) if flow else {}
    shown = [StepOut(**step_out(r, attempts=1 + failed.get(r.path, 0), shortened=flow)) for r in found.data]
    return Page(shown, found.next_cursor, found.has_more)


async def read_step(platform: Platform, actor: Actor, run_id: UUID, path: str) -> dict[str, Any]:
    """Give a step with its values whole, ready to be written as JSON.

    Raises `RunNotFound`, `StepNotFound`, `ValueGone`, or `ValueTooLarge`.
    """
    async with platform.database.read(actor.organization_id) as session:
        await get_run(session, actor, run_id)
        row = await queries.step(session, actor, run_id, path)
        if row is None:
            raise StepNotFound(f"The run has recorded nothing at {path[:200]!r}.")
        failed = await queries.failed_attempts(session, actor, run_id, [path])
    step = StepOut(**step_out(row, attempts=1 + failed.get(path, 0))).model_dump(mode="json")
    stored = stored_output(row)
    return step if stored is None else {**step, "output": await _loaded(platform, actor, stored)}


async def read_output(platform: Platform, actor: Actor, run_id: UUID) -> Any:  # noqa: ANN401 - any JSON value
    """Give a completed run's output whole; of an agent without an output schema, its words.

    Raises `RunNotFound`, `RunHasNoOutput`, `ValueGone`, or `ValueTooLarge`.
    """
    async with platform.database.read(actor.organization_id) as session:
        row = await get_run(session, actor, run_id)
    if row.status != RunStatus.COMPLETED or row.output is None:
        raise RunHasNoOutput(f"The run is {row.status}." if row.output is None else "The run is not completed.")
    output = row.output.get("output")
    if row.kind != WORKFLOW:
        return row.output.get("text", "") if output is None else output
    stored = stored_result(output)
    return output if stored is None else await _loaded(platform, actor, stored)


async def _loaded(platform: Platform, actor: Actor, stored: Ref) -> Any:  # noqa: ANN401 - any JSON value
    limits = FlowLimits()
    if stored.total > limits.load_bytes:
        raise ValueTooLarge(
            f"The value has {stored.total} bytes; at most {limits.load_bytes} are given at once. "
            "Read its parts: the items of a map are steps of their own."
        )
    shelf = Shelf(platform.queue.payloads(actor.organization_id), limits.inline_bytes, limits.load_bytes)
    try:
        return await shelf.load(stored)
    except PayloadLost as problem:
        raise ValueGone(problem.detail) from None


async def cost_of(session: ReadSession, actor: Actor, run_id: UUID) -> dict[str, Any]:
    """Sum what a run came to, by model and, of a workflow, by task; raises `RunNotFound`."""
    run = await get_run(session, actor, run_id)
    tasks = await queries.costs_by_task(session, actor, run_id) if run.kind == WORKFLOW else ()
    return {
        "run_id": run.id,
        "currency": "USD",
        "cost_usd": money(run.cost_usd),
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "models": [_summed("name", *row) for row in await queries.costs(session, actor, run_id)],
        "tasks": [_summed("task", *row) for row in tasks],
    }


def _summed(  # noqa: PLR0917 - the columns of a row
    key: str, name: str, calls: int, tokens_in: int, tokens_out: int, cost: object
) -> dict[str, Any]:
    return {
        key: name,
        "calls": calls,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cost_usd": money(Decimal(str(cost))) if cost is not None else None,
    }
