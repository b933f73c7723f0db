"""Two workflow runs beside each other, task by task."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Integer, and_, cast, func, select
from sqlalchemy.orm import aliased

from agent_factory.database.models import RunStepRow
from agent_factory.database.session import ReadSession
from agent_factory.security.auth import Actor


class Side(msgspec.Struct, frozen=True):
    """A task as one run recorded it; `output` is its outcome."""

    name: str
    output: Any
    duration_ms: int
    cost_usd: Decimal | None


class Pair(msgspec.Struct, frozen=True):
    """A task of two runs, and its place in the telling."""

    place: int
    path: str
    same: bool
    before: Side | None
    after: Side | None


async def pairs(
    session: ReadSession, actor: Actor, runs: tuple[UUID, UUID], limit: int, after: int, *, changed: bool
) -> list[Pair]:
    """List the tasks of two runs in their order, after a place; with `changed`, only those that differ."""
    run_id, other_id = runs
    a, b = _tasks(actor, run_id), _tasks(actor, other_id)
    path = func.coalesce(a.path, b.path)
    # Every task has a place of its own: those of the first run have even ones, those that only the second has odd ones.
    place = func.coalesce(a.ord, b.ord) * 2 + cast(a.path.is_(None), Integer)
    same = func.coalesce(a.output == b.output, False)
    query = (
        select(
            place,
            path,
            same,
            a.path,
            a.name,
            a.output,
            a.duration_ms,
            _cost(actor, run_id, path),
            b.path,
            b.name,
            b.output,
            b.duration_ms,
            _cost(actor, other_id, path),
        )
        .select_from(a)
        .join(b, a.path == b.path, full=True)
        .where(place > after)
        .order_by(place)
        .limit(limit)
    )
    if changed:
        query = query.where(~same)
    return [Pair(row[0], row[1], row[2], _side(*row[3:8]), _side(*row[8:13])) for row in await session.execute(query)]


def _tasks(actor: Actor, run_id: UUID) -> Any:  # noqa: ANN401 - the class under another name
    rows = (
        select(RunStepRow)
        .where(
            RunStepRow.organization_id == actor.organization_id,
            RunStepRow.run_id == run_id,
            RunStepRow.kind == "task",
            ~RunStepRow.path.regexp_match("#[0-9]+$"),  # attempts that failed before the last one
        )
        .subquery()
    )
    return aliased(RunStepRow, rows)


def _cost(actor: Actor, run_id: UUID, path: Any) -> Any:  # noqa: ANN401 - SQL
    step = aliased(RunStepRow)
    rest = func.substr(step.path, func.length(path) + 1, 1)
    return (
        select(func.sum(step.cost_usd))
        .where(
            step.organization_id == actor.organization_id,
            step.run_id == run_id,
            step.cost_usd.is_not(None),
            and_(func.starts_with(step.path, path), rest.in_(("", "/", "[", "#"))),
        )
        .scalar_subquery()
    )


def _side(*row: Any) -> Side | None:  # noqa: ANN401 - columns of a row
    path, name, output, duration_ms, cost_usd = row
    return None if path is None else Side(name, output, duration_ms, cost_usd)
