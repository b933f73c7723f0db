"""Workflows and versions, looked up."""

from uuid import UUID

from agent_factory.core.agent import AgentStatus
from agent_factory.database.models import WorkflowRow, WorkflowVersionRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page, page
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.workflows import queries
from agent_factory.services.workflows.errors import VersionNotFound, WorkflowNotFound

_ABSENT = "There is no such workflow in your organisation."


async def get(session: ReadSession, actor: Actor, workflow_id: UUID) -> tuple[WorkflowRow, WorkflowVersionRow]:
    """Find a workflow and its newest version; raises `WorkflowNotFound`."""
    row = await queries.workflow(session, actor, workflow_id)
    if row is None:
        raise WorkflowNotFound(_ABSENT)
    return row, await get_version(session, actor, workflow_id, row.latest_version)


async def held(session: Session, actor: Actor, workflow_id: UUID) -> WorkflowRow:
    """Find a workflow and hold it until the transaction ends; raises `WorkflowNotFound`."""
    row = await queries.workflow_to_change(session, actor, workflow_id)
    if row is None:
        raise WorkflowNotFound(_ABSENT)
    return row


async def list_workflows(
    session: ReadSession,
    actor: Actor,
    limit: int,
    after: UUID | None,
    *,
    name: str | None = None,
    status: AgentStatus | None = None,
    permission: str = "workflow:read",
) -> Page[WorkflowRow]:
    """List the workflows to which the caller has a permission, newest first; archived ones only by status."""
    only = rbac.reach(actor, permission)
    rows = await queries.workflows(session, actor, limit + 1, after, name=name, status=status, only=only)
    return page(rows, limit, rows[limit - 1].id if len(rows) > limit else None)


async def list_versions(
    session: ReadSession, actor: Actor, workflow_id: UUID, limit: int, after: UUID | None
) -> Page[WorkflowVersionRow]:
    """List a workflow's versions, newest first; raises `WorkflowNotFound`."""
    if await queries.workflow(session, actor, workflow_id) is None:
        raise WorkflowNotFound(_ABSENT)
    rows = await queries.versions(session, actor, workflow_id, limit + 1, after)
    return page(rows, limit, rows[limit - 1].id if len(rows) > limit else None)


async def get_version(session: ReadSession, actor: Actor, workflow_id: UUID, number: int) -> WorkflowVersionRow:
    """Find one version; raises `VersionNotFound`."""
    row = await queries.version(session, actor, workflow_id, number)
    if row is None:
        raise VersionNotFound(f"There is no version {number} of such a workflow in your organisation.")
    return row
