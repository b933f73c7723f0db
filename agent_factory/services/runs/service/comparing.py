"""How two workflow runs differ."""

from typing import Any
from uuid import UUID

from agent_factory.database.session import ReadSession
from agent_factory.kit.pages import page
from agent_factory.security.auth import Actor
from agent_factory.services.runs.errors import RunNotFound
from agent_factory.services.runs.queries import comparing as queries
from agent_factory.services.runs.queries.comparing import Pair, Side
from agent_factory.services.runs.rules import WORKFLOW, money, referred, shorter
from agent_factory.services.runs.schemas import DiffOut
from agent_factory.services.runs.service.reading import get_run


async def diff(
    session: ReadSession,
    actor: Actor,
    runs: tuple[UUID, UUID],
    limit: int,
    after: UUID | None,
    *,
    changed: bool = False,
) -> DiffOut:
    """Compare two workflow runs, a page of tasks at a time; with `changed`, only tasks that differ.

    Raises `RunNotFound`, also for the run of an agent.
    """
    one, other = [await get_run(session, actor, run_id) for run_id in runs]
    for run in (one, other):
        if run.kind != WORKFLOW:
            raise RunNotFound("Only runs of workflows can be compared; this is an agent's.")
    start = after.int if after else 0
    rows = await queries.pairs(session, actor, runs, limit + 1, start, changed=changed)
    found = page(rows, limit, UUID(int=rows[limit - 1].place) if len(rows) > limit else None)
    return DiffOut.model_validate(
        {
            "data": [_pair(each) for each in found.data],
            "next_cursor": found.next_cursor,
            "has_more": found.has_more,
            "run_id": one.id,
            "with_run_id": other.id,
            "same_definition": one.snapshot == other.snapshot,
            "same_input": one.input == other.input,
            "same_output": one.status == other.status and one.output == other.output,
        }
    )


def _pair(pair: Pair) -> dict[str, Any]:
    known = pair.before or pair.after
    return {
        "path": pair.path,
        "type": "" if known is None else known.name,
        "same": pair.same,
        "before": _side(pair.before),
        "after": _side(pair.after),
    }


def _side(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    outcome: dict[str, Any] = side.output or {}
    output = outcome.get("output")
    return {
        "status": outcome.get("status", "completed"),
        "output": referred(output) if outcome.get("stored") else shorter(output),
        "error": outcome.get("error"),
        "duration_ms": side.duration_ms,
        "cost_usd": money(side.cost_usd),
    }
