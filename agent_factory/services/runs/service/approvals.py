"""What runs ask people, and what these decide."""

from contextlib import suppress
from uuid import UUID

from agent_factory.database.models import ApprovalRow
from agent_factory.database.session import ReadSession
from agent_factory.kit import ids
from agent_factory.kit.pages import Page
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.queue.waits import Decision as Decided
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.runs.errors import ApprovalDecided, ApprovalForbidden, ApprovalNotFound, RunNotWaiting
from agent_factory.services.runs.queries import approvals as queries
from agent_factory.services.runs.rules import may_decide
from agent_factory.services.runs.schemas import Decision

_DECIDE = "workflow:run"
_STATUS = {"approve": "approved", "deny": "denied"}


async def get_approval(session: ReadSession, actor: Actor, approval_id: UUID) -> ApprovalRow:
    """Find an approval of a workflow that the caller may read; raises `ApprovalNotFound` or `Denied`."""
    row = await _found(session, actor, approval_id)
    if not rbac.may(actor, "workflow:read"):
        rbac.check(actor, "workflow:read", await queries.workflow_of(session, actor, row.run_id))
    return row


async def list_approvals(
    session: ReadSession,
    actor: Actor,
    limit: int,
    after: UUID | None,
    *,
    status: str | None = None,
    run_id: UUID | None = None,
) -> Page[ApprovalRow]:
    """List the approvals of workflows that the caller may read, newest first."""
    seen = rbac.reach(actor, "workflow:read")
    return await queries.approvals(session, actor, limit, after, status=status, run_id=run_id, seen=seen)


async def decide_approval(platform: Platform, actor: Actor, approval_id: UUID, decision: Decision) -> ApprovalRow:
    """Answer what a run asks; it goes on by itself. The same answer by the same person again changes nothing.

    Raises `ApprovalNotFound`, `ApprovalForbidden` for somebody who was not
    asked, or `ApprovalDecided` for a question that nobody asks any more.
    """
    row = await _asked(platform, actor, approval_id)
    if row.status == "pending":
        decided = Decided(
            decision.decision == "approve", ids.encode("usr", actor.user_id), decision.comment, actor.user_id
        )
        # Somebody else, or the deadline, may be faster by a moment: what he said stands in the row.
        with suppress(RunNotWaiting):
            await platform.queue.decide(actor.organization_id, row.run_id, row.path, decided)
        row = await _asked(platform, actor, approval_id)
    if row.status != _STATUS[decision.decision] or row.decided_by != actor.user_id:
        raise ApprovalDecided(f"The approval is {row.status} already.")
    return row


async def _asked(platform: Platform, actor: Actor, approval_id: UUID) -> ApprovalRow:
    async with platform.database.read(actor.organization_id) as session:
        row = await _found(session, actor, approval_id)
        user = await auth.get_user(session, actor, actor.user_id)
        if not row.roles and not row.users and not rbac.may(actor, _DECIDE):
            rbac.check(actor, _DECIDE, await queries.workflow_of(session, actor, row.run_id))
    if not rbac.allows(actor.scopes, _DECIDE):
        raise rbac.Denied(f"Your key or token is not for {_DECIDE}, which decisions need.")
    if not may_decide(row, actor, user.email):
        raise ApprovalForbidden("Others were asked: see `roles` and `users` of the approval.")
    return row


async def _found(session: ReadSession, actor: Actor, approval_id: UUID) -> ApprovalRow:
    row = await queries.approval(session, actor, approval_id)
    if row is None:
        raise ApprovalNotFound("There is no such approval, or it is not yours.")
    return row
