"""Every statement over approvals that is not the queue's."""

from uuid import UUID

from agent_factory.database.base import owned_by
from agent_factory.database.models import ApprovalRow
from agent_factory.database.session import ReadSession
from agent_factory.security.auth import Actor


async def approval(session: ReadSession, actor: Actor, approval_id: UUID) -> ApprovalRow | None:
    """Find one approval."""
    return (await session.scalars(owned_by(actor, ApprovalRow).where(ApprovalRow.id == approval_id))).one_or_none()


async def approvals(
    session: ReadSession, actor: Actor, limit: int, after: UUID | None, *, status: str | None, run_id: UUID | None
) -> list[ApprovalRow]:
    """List approvals, newest first."""
    query = owned_by(actor, ApprovalRow).order_by(ApprovalRow.id.desc()).limit(limit)
    if after is not None:
        query = query.where(ApprovalRow.id < after)
    if status is not None:
        query = query.where(ApprovalRow.status == status)
    if run_id is not None:
        query = query.where(ApprovalRow.run_id == run_id)
    return list(await session.scalars(query))
