"""Runs, as they are kept."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from agent_factory.database.models import RunRow, RunStatus, RunStepRow
from agent_factory.database.session import ReadSession
from agent_factory.kit.pages import Page, page
from agent_factory.security.auth import Actor
from agent_factory.services.runs import queries
from agent_factory.services.runs.errors import RunNotFound
from agent_factory.services.runs.rules import money


async def get_run(session: ReadSession, actor: Actor, run_id: UUID) -> RunRow:
    """Find a run; raises `RunNotFound`."""
    row = await queries.run_row(session, actor, run_id)
    if row is None:
        raise RunNotFound("There is no such run, or it is not yours.")
    return row


async def list_runs(
    session: ReadSession,
    actor: Actor,
    limit: int,
    after: UUID | None,
    *,
    session_id: UUID | None = None,
    agent_id: UUID | None = None,
    status: RunStatus | None = None,
) -> Page[RunRow]:
    """List runs, newest first."""
    rows = await queries.runs(session, actor, limit + 1, after, session_id=session_id, agent_id=agent_id, status=status)
    return page(rows, limit, rows[limit - 1].id if len(rows) > limit else None)


async def list_steps(
    session: ReadSession, actor: Actor, run_id: UUID, limit: int, after: UUID | None
) -> Page[RunStepRow]:
    """List a run's steps, in order; raises `RunNotFound`."""
    await get_run(session, actor, run_id)
    rows = await queries.steps(session, actor, run_id, limit + 1, after.int if after else 0)
    return page(rows, limit, UUID(int=rows[limit - 1].ord) if len(rows) > limit else None)


async def cost_of(session: ReadSession, actor: Actor, run_id: UUID) -> dict[str, Any]:
    """Sum what a run came to, by model; raises `RunNotFound`."""
    run = await get_run(session, actor, run_id)
    models = [
        {
            "name": name,
            "calls": calls,
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "cost_usd": money(Decimal(str(cost))) if cost is not None else None,
        }
        for name, calls, tokens_in, tokens_out, cost in await queries.costs(session, actor, run_id)
    ]
    return {
        "run_id": run.id,
        "currency": "USD",
        "cost_usd": money(run.cost_usd),
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "models": models,
    }
