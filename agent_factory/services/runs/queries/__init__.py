"""Every statement over sessions, messages, runs and steps that is not the engine's."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, and_, any_, delete, func, null, or_, select, update

from agent_factory.database.base import owned_by
from agent_factory.database.models import (
    ApprovalRow,
    MessageRow,
    RunRow,
    RunStatus,
    RunStepRow,
    RunWaitRow,
    SessionRow,
)
from agent_factory.database.pages import newest
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor
from agent_factory.services.runs.rules import WORKFLOW, WaitView

_MOST_WAITS = 1000
"""Waits that are shown; a run may have as many as tasks."""

_AT_WORK = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs are listed; what is None does not matter."""

    kind: str | None = None
    session_id: UUID | None = None
    agent_id: UUID | None = None
    workflow_id: UUID | None = None
    forked_from: UUID | None = None
    status: RunStatus | None = None
    label: str | None = None


class Seen(msgspec.Struct, frozen=True):
    """Whose runs a caller may see: those of all agents (None) or of some, and so for workflows."""

    agents: frozenset[UUID] | None
    workflows: frozenset[UUID] | None


_EVERYTHING = Seen(None, None)


async def add(session: Session, row: SessionRow) -> None:
    """Insert a session."""
    session.add(row)
    await session.flush()


async def session_row(session: ReadSession, actor: Actor, session_id: UUID) -> SessionRow | None:
    """Find one session."""
    return (await session.scalars(owned_by(actor, SessionRow).where(SessionRow.id == session_id))).one_or_none()


async def session_to_change(session: Session, actor: Actor, session_id: UUID) -> SessionRow | None:
    """Find one session and hold its row until the transaction ends."""
    query = owned_by(actor, SessionRow).where(SessionRow.id == session_id).with_for_update()
    return (await session.scalars(query)).one_or_none()


async def sessions(
    session: ReadSession,
    actor: Actor,
    limit: int,
    after: UUID | None,
    agent_id: UUID | None,
    *,
    seen: frozenset[UUID] | None,
) -> Page[SessionRow]:
    """List sessions, newest first; with `seen`, only those of these agents."""
    query = owned_by(actor, SessionRow)
    if seen is not None:
        query = query.where(SessionRow.agent_id.in_(seen))
    if agent_id is not None:
        query = query.where(SessionRow.agent_id == agent_id)
    return await newest(session, query, SessionRow, limit, after)


async def delete_session(session: Session, actor: Actor, session_id: UUID) -> None:
    """Delete a session with its messages, and what its runs have kept of them."""
    of_it = select(RunRow.id).where(RunRow.organization_id == actor.organization_id, RunRow.session_id == session_id)
    await session.execute(
        delete(SessionRow).where(SessionRow.organization_id == actor.organization_id, SessionRow.id == session_id)
    )
    await session.execute(
        delete(MessageRow).where(
            MessageRow.organization_id == actor.organization_id, MessageRow.session_id == session_id
        )
    )
    await session.execute(
        delete(RunStepRow).where(RunStepRow.organization_id == actor.organization_id, RunStepRow.run_id.in_(of_it))
    )
    await session.execute(
        update(RunRow)
        .where(RunRow.organization_id == actor.organization_id, RunRow.session_id == session_id)
        .values(input=None, output=None, error=None)
    )


async def messages(session: ReadSession, actor: Actor, session_id: UUID, limit: int, after: int) -> list[MessageRow]:
    """List a session's messages after a number, oldest first."""
    query = owned_by(actor, MessageRow).where(MessageRow.session_id == session_id, MessageRow.seq > after)
    return list(await session.scalars(query.order_by(MessageRow.seq).limit(limit)))


async def run_row(session: ReadSession, actor: Actor, run_id: UUID) -> RunRow | None:
    """Find one run."""
    return (await session.scalars(owned_by(actor, RunRow).where(RunRow.id == run_id))).one_or_none()


async def runs(
    session: ReadSession,
    actor: Actor,
    limit: int,
    after: UUID | None,
    *,
    wanted: Wanted,
    seen: Seen,
) -> Page[RunRow]:
    """List the runs that the caller may see, newest first."""
    query = owned_by(actor, RunRow)
    if seen != _EVERYTHING:
        query = query.where(or_(*_seen(seen)))
    for name, value in msgspec.structs.asdict(wanted).items():
        if value is not None:
            query = query.where(value == any_(RunRow.labels) if name == "label" else getattr(RunRow, name) == value)
    return await newest(session, query, RunRow, limit, after)


def _seen(seen: Seen) -> Iterator[ColumnElement[bool]]:
    of_workflow = RunRow.kind == WORKFLOW
    for own, column, ids in (
        (~of_workflow, RunRow.agent_id, seen.agents),
        (of_workflow, RunRow.workflow_id, seen.workflows),
    ):
        yield own if ids is None else and_(own, column.in_(ids))


async def waits(session: ReadSession, actor: Actor, run_ids: Sequence[UUID]) -> list[WaitView]:
    """List what runs wait for, in the order in which they began to."""
    asked = and_(
        ApprovalRow.run_id == RunWaitRow.run_id,
        ApprovalRow.path == RunWaitRow.path,
        ApprovalRow.organization_id == RunWaitRow.organization_id,
    )
    query = (
        select(
            RunWaitRow.run_id,
            RunWaitRow.path,
            RunWaitRow.kind,
            RunWaitRow.wake_at,
            RunWaitRow.event_type,
            ApprovalRow.id,
        )
        .outerjoin(ApprovalRow, asked)
        .where(
            RunWaitRow.organization_id == actor.organization_id,
            RunWaitRow.run_id.in_(run_ids),
            RunWaitRow.resolved_at.is_(None),
        )
        .order_by(RunWaitRow.created_at, RunWaitRow.path)
        .limit(_MOST_WAITS)
    )
    return [WaitView(*row) for row in await session.execute(query)]


async def run_at_work(session: ReadSession, actor: Actor, session_id: UUID) -> UUID | None:
    """Find the run of a session that has not ended."""
    query = select(RunRow.id).where(
        RunRow.organization_id == actor.organization_id,
        RunRow.session_id == session_id,
        RunRow.status.in_(_AT_WORK),
    )
    return await session.scalar(query.order_by(RunRow.id.desc()).limit(1))


async def next_run(session: ReadSession, actor: Actor, session_id: UUID, after: UUID | None) -> UUID | None:
    """Find the session's first run after another one; the ids of a session's runs grow with time."""
    query = select(RunRow.id).where(RunRow.organization_id == actor.organization_id, RunRow.session_id == session_id)
    if after is not None:
        query = query.where(RunRow.id > after)
    return await session.scalar(query.order_by(RunRow.id).limit(1))


async def newest_run(session: ReadSession, actor: Actor, session_id: UUID) -> UUID | None:
    """Find the session's newest run."""
    query = select(RunRow.id).where(RunRow.organization_id == actor.organization_id, RunRow.session_id == session_id)
    return await session.scalar(query.order_by(RunRow.id.desc()).limit(1))


async def steps(session: ReadSession, actor: Actor, run_id: UUID, limit: int, after: int) -> list[RunStepRow]:
    """List a run's steps after a number, in order."""
    query = owned_by(actor, RunStepRow).where(RunStepRow.run_id == run_id, RunStepRow.ord > after)
    return list(await session.scalars(query.order_by(RunStepRow.ord).limit(limit)))


async def step(session: ReadSession, actor: Actor, run_id: UUID, path: str) -> RunStepRow | None:
    """Find a run's step by its path."""
    query = owned_by(actor, RunStepRow).where(RunStepRow.run_id == run_id, RunStepRow.path == path)
    return (await session.scalars(query)).one_or_none()


async def failed_attempts(session: ReadSession, actor: Actor, run_id: UUID, paths: Sequence[str]) -> dict[str, int]:
    """Count the attempts at tasks that failed before their last one; those without any are left out."""
    first = select(func.left(RunStepRow.path, -2)).where(
        RunStepRow.organization_id == actor.organization_id,
        RunStepRow.run_id == run_id,
        RunStepRow.path.in_([f"{path}#1" for path in paths]),
    )
    tried = list(await session.scalars(first))
    if not tried:
        return {}
    base = func.regexp_replace(RunStepRow.path, "#[0-9]+$", "")
    query = (
        select(base, func.count())
        .where(
            RunStepRow.organization_id == actor.organization_id,
            RunStepRow.run_id == run_id,
            RunStepRow.kind == "task",
            RunStepRow.path.regexp_match("#[0-9]+$"),
            base.in_(tried),
        )
        .group_by(base)
    )
    return {row[0]: row[1] for row in await session.execute(query)}


async def costs(session: ReadSession, actor: Actor, run_id: UUID) -> Sequence[tuple[str, int, int, int, object]]:
    """Sum a run's model calls by model: name, calls, tokens in and out, money."""
    query = (
        select(
            RunStepRow.name,
            func.count(),
            func.sum(RunStepRow.input_tokens),
            func.sum(RunStepRow.output_tokens),
            func.sum(RunStepRow.cost_usd),
        )
        .where(
            RunStepRow.organization_id == actor.organization_id,
            RunStepRow.run_id == run_id,
            RunStepRow.kind.in_(("model", "summary")),
        )
        .group_by(RunStepRow.name)
        .order_by(RunStepRow.name)
    )
    return [(row[0], row[1], int(row[2]), int(row[3]), row[4]) for row in await session.execute(query)]


async def costs_by_task(
    session: ReadSession, actor: Actor, run_id: UUID
) -> Sequence[tuple[str, int, int, int, object]]:
    """Sum a workflow's model calls by its outermost tasks: id, calls, tokens in and out, money."""
    task = func.substring(RunStepRow.path, "^[A-Za-z_][A-Za-z0-9_]*")
    query = (
        select(
            task,
            func.count(),
            func.sum(RunStepRow.input_tokens),
            func.sum(RunStepRow.output_tokens),
            func.sum(RunStepRow.cost_usd),
        )
        .where(
            RunStepRow.organization_id == actor.organization_id,
            RunStepRow.run_id == run_id,
            RunStepRow.kind.in_(("model", "summary")),
        )
        .group_by(task)
        .order_by(task)
    )
    return [(row[0], row[1], int(row[2]), int(row[3]), row[4]) for row in await session.execute(query)]


async def last_messages(session: ReadSession, actor: Actor, session_id: UUID, run_id: UUID) -> tuple[int, int]:
    """Give the numbers of a run's last message and of the session's; 0 where there is none."""
    query = select(
        func.coalesce(func.max(MessageRow.seq).filter(MessageRow.run_id == run_id), 0),
        func.coalesce(func.max(MessageRow.seq), 0),
    ).where(MessageRow.organization_id == actor.organization_id, MessageRow.session_id == session_id)
    row = (await session.execute(query)).one()
    return row[0], row[1]


async def forget_run(session: Session, actor: Actor, run_id: UUID) -> None:
    """Erase a run's input, steps and output; that it was, and what it cost, stays."""
    await session.execute(
        delete(RunStepRow).where(RunStepRow.organization_id == actor.organization_id, RunStepRow.run_id == run_id)
    )
    await session.execute(
        update(RunRow)
        .where(RunRow.organization_id == actor.organization_id, RunRow.id == run_id)
        .values(input=null(), output=null(), error=null())
    )


async def remembered(session: ReadSession, actor: Actor, session_id: UUID) -> bool:
    """Tell whether a session has a run that is not erased."""
    query = select(RunRow.id).where(
        RunRow.organization_id == actor.organization_id, RunRow.session_id == session_id, RunRow.input.is_not(None)
    )
    return await session.scalar(query.limit(1)) is not None
