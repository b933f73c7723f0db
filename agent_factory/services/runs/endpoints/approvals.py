"""HTTP for what runs ask people."""

from typing import Annotated
from uuid import UUID

from fastapi import Query

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id
from agent_factory.security.rbac import MEMBER
from agent_factory.services.runs import service
from agent_factory.services.runs.rules import approval_out
from agent_factory.services.runs.schemas import ApprovalOut, ApprovalPage, ApprovalStatus, Decision, RunId

approvals = router("/api/v1/approvals", "approvals")

ApprovalPath = Annotated[UUID, Id("apr", in_path=True)]


@approvals.get("")
@needs("workflow:read", inside=True)
async def list_(
    session: Reader,
    actor: ActorDep,
    paging: PagingDep,
    status: Annotated[ApprovalStatus | None, Query()] = None,
    run_id: Annotated[RunId | None, Query()] = None,
) -> ApprovalPage:
    """List what runs ask or asked people, newest first."""
    found = await service.list_approvals(session, actor, paging.limit, paging.after, status=status, run_id=run_id)
    data = [ApprovalOut(**approval_out(row)) for row in found.data]
    return ApprovalPage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)


@approvals.get("/{approval_id}")
@needs("workflow:read", inside=True)
async def get(session: Reader, actor: ActorDep, approval_id: ApprovalPath) -> ApprovalOut:
    """Show an approval."""
    return ApprovalOut(**approval_out(await service.get_approval(session, actor, approval_id)))


@approvals.post("/{approval_id}:decide")
@needs(MEMBER)
async def decide(actor: ActorDep, platform: PlatformDep, approval_id: ApprovalPath, body: Decision) -> ApprovalOut:
    """Approve or deny; the run goes on by itself. The same decision again changes nothing."""
    return ApprovalOut(**approval_out(await service.decide_approval(platform, actor, approval_id, body)))
