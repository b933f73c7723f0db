"""Every statement over workflows and their versions."""

from uuid import UUID

from sqlalchemy import Text, cast, select

from agent_factory.core.agent import AgentStatus
from agent_factory.database.base import HasOrganization, owned_by
from agent_factory.database.models import WorkflowRow, WorkflowVersionRow
from agent_factory.database.session import ReadSession, Session


async def workflow(session: ReadSession, owner: HasOrganization, workflow_id: UUID) -> WorkflowRow | None:
    """Find one workflow."""
    return (await session.scalars(owned_by(owner, WorkflowRow).where(WorkflowRow.id == workflow_id))).one_or_none()


async def workflow_to_change(session: Session, owner: HasOrganization, workflow_id: UUID) -> WorkflowRow | None:
    """Find one workflow and hold its row until the transaction ends."""
    query = owned_by(owner, WorkflowRow).where(WorkflowRow.id == workflow_id).with_for_update()
    return (await session.scalars(query)).one_or_none()


async def workflows(
    session: ReadSession,
    owner: HasOrganization,
    limit: int,
    after: UUID | None,
    *,
    name: str | None,
    status: AgentStatus | None,
    only: frozenset[UUID] | None,
) -> list[WorkflowRow]:
    """List workflows, or `only` some, newest first; without a status, those that are not archived."""
    query = owned_by(owner, WorkflowRow).order_by(WorkflowRow.id.desc()).limit(limit)
    if only is not None:
        query = query.where(WorkflowRow.id.in_(only))
    if after is not None:
        query = query.where(WorkflowRow.id < after)
    if name is not None:
        query = query.where(WorkflowRow.name == name)
    if status is None:
        query = query.where(WorkflowRow.status != AgentStatus.ARCHIVED)
    else:
        query = query.where(WorkflowRow.status == status)
    return list(await session.scalars(query))


async def version(
    session: ReadSession, owner: HasOrganization, workflow_id: UUID, number: int
) -> WorkflowVersionRow | None:
    """Find one version of a workflow."""
    query = owned_by(owner, WorkflowVersionRow).where(
        WorkflowVersionRow.workflow_id == workflow_id, WorkflowVersionRow.number == number
    )
    return (await session.scalars(query)).one_or_none()


async def versions(
    session: ReadSession, owner: HasOrganization, workflow_id: UUID, limit: int, after: UUID | None
) -> list[WorkflowVersionRow]:
    """List a workflow's versions, newest first."""
    query = owned_by(owner, WorkflowVersionRow).where(WorkflowVersionRow.workflow_id == workflow_id)
    if after is not None:
        query = query.where(WorkflowVersionRow.id < after)
    return list(await session.scalars(query.order_by(WorkflowVersionRow.id.desc()).limit(limit)))


async def named(
    session: ReadSession, owner: HasOrganization, *, workflow_id: UUID | None, name: str
) -> tuple[UUID, str, str, int, int | None] | None:
    """Find a workflow by id or by name: its id, name, status, newest and deployed version."""
    query = select(
        WorkflowRow.id, WorkflowRow.name, WorkflowRow.status, WorkflowRow.latest_version, WorkflowRow.deployed_version
    ).where(WorkflowRow.organization_id == owner.organization_id)
    if workflow_id is not None:
        query = query.where(WorkflowRow.id == workflow_id)
    else:
        query = query.where(WorkflowRow.name == name, WorkflowRow.status != AgentStatus.ARCHIVED)
    row = (await session.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1], row[2], row[3], row[4])


async def definition_text(session: ReadSession, owner: HasOrganization, workflow_id: UUID, number: int) -> str | None:
    """Read one version's definition as JSON text."""
    return await session.scalar(
        select(cast(WorkflowVersionRow.definition, Text)).where(
            WorkflowVersionRow.organization_id == owner.organization_id,
            WorkflowVersionRow.workflow_id == workflow_id,
            WorkflowVersionRow.number == number,
        )
    )


async def add(session: Session, *rows: WorkflowRow | WorkflowVersionRow) -> None:
    """Insert rows."""
    for row in rows:
        session.add(row)
        await session.flush()


async def save(session: Session, row: WorkflowRow) -> None:
    """Write a workflow's changes now, so that what a constraint refuses is refused here."""
    await session.flush()
    await session.refresh(row)
