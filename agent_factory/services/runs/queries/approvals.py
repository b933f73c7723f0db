"""Every statement over approvals that is not the queue's."""

from uuid import UUID

from sqlalchemy import select

from agent_factory.database.base import owned_by
from agent_factory.database.models import ApprovalRow, RunRow
from agent_factory.database.pages import newest
from agent_factory.database.session import ReadSession
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor


async def approval(session: ReadSession, actor: Actor, approval_id: UUID) -> ApprovalRow | None:
    """Find one approval."""
    return (await session.scalars(owned_by(actor, ApprovalRow).where(ApprovalRow.id == approval_id))).one_or_none()


async def approvals(
    session: ReadSession,
    actor: Actor,
    limit: int,
    after: UUID | None,
    *,
    status: str | None,
    run_id: UUID | None,
    seen: frozenset[UUID] | None,
) -> Page[ApprovalRow]:
    """List approvals, newest first; with `seen`, only those of runs of these workflows."""
    query = owned_by(actor, ApprovalRow)
    if seen is not None:
        of_runs = select(RunRow.id).where(RunRow.organization_id == actor.organization_id, RunRow.workflow_id.in_(seen))
        query = query.where(ApprovalRow.run_id.in_(of_runs))
    if status is not None:
        query = query.where(ApprovalRow.status == status)
    if run_id is not None:
        query = query.where(ApprovalRow.run_id == run_id)
    return await newest(session, query, ApprovalRow, limit, after)


async def workflow_of(session: ReadSession, actor: Actor, run_id: UUID) -> UUID | None:
    """Find the workflow of a run, if that is kept."""
    query = select(RunRow.workflow_id).where(RunRow.organization_id == actor.organization_id, RunRow.id == run_id)
    return await session.scalar(query)
