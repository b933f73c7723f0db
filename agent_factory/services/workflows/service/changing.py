"""Workflows made and changed; every change of a definition is a new version (S83, S99)."""

from typing import Any
from uuid import UUID

import msgspec

from agent_factory.api.etag import check, merge_patch
from agent_factory.core.agent import AgentStatus
from agent_factory.core.workflow import Workflow
from agent_factory.database.models import WorkflowRow, WorkflowVersionRow
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.compile import Resources
from agent_factory.security.auth import Actor
from agent_factory.services.workflows import queries
from agent_factory.services.workflows.rules import may_change
from agent_factory.services.workflows.service.checking import checked
from agent_factory.services.workflows.service.naming import check_names
from agent_factory.services.workflows.service.reading import get_version, held


class Changed(msgspec.Struct, frozen=True):
    """A workflow after a change, and its newest version."""

    workflow: WorkflowRow
    version: WorkflowVersionRow


async def create(session: Session, actor: Actor, resources: Resources, definition: dict[str, Any]) -> Changed:
    """Make a draft with version 1; raises `Invalid` with pointers, or `Conflict` for a name that is taken."""
    workflow = (await checked(session, actor, resources, definition)).flow.workflow
    await check_names(session, actor, definition)
    moment = now()
    row = WorkflowRow(
        id=uuid7(),
        organization_id=actor.organization_id,
        name=workflow.name,
        description=workflow.description,
        status=AgentStatus.DRAFT,
        latest_version=1,
        deployed_version=None,
        revision=1,
        created_by=actor.user_id,
        created_at=moment,
        updated_at=moment,
    )
    version = _version(actor, row, workflow, 1)
    await queries.add(session, row, version)
    return Changed(row, version)


async def patch(
    session: Session,
    actor: Actor,
    resources: Resources,
    workflow_id: UUID,
    *,
    change: dict[str, Any],
    if_match: str | None = None,
) -> Changed:
    """Apply a merge patch to the newest definition; without a difference nothing changes."""
    row = await _open(session, actor, workflow_id, if_match)
    newest = await get_version(session, actor, workflow_id, row.latest_version)
    return await _define(session, actor, resources, row, newest, definition=merge_patch(newest.definition, change))


async def replace(
    session: Session,
    actor: Actor,
    resources: Resources,
    workflow_id: UUID,
    *,
    definition: dict[str, Any],
    if_match: str | None = None,
) -> Changed:
    """Make a definition the newest version; without a difference nothing changes."""
    row = await _open(session, actor, workflow_id, if_match)
    newest = await get_version(session, actor, workflow_id, row.latest_version)
    return await _define(session, actor, resources, row, newest, definition=definition)


async def _open(session: Session, actor: Actor, workflow_id: UUID, if_match: str | None) -> WorkflowRow:
    row = await held(session, actor, workflow_id)
    check(if_match, row.revision)
    may_change(AgentStatus(row.status))
    return row


async def _define(
    session: Session,
    actor: Actor,
    resources: Resources,
    row: WorkflowRow,
    newest: WorkflowVersionRow,
    *,
    definition: dict[str, Any],
) -> Changed:
    workflow = (await checked(session, actor, resources, definition, row.id)).flow.workflow
    await check_names(session, actor, definition, newest.definition)
    if workflow.digest == newest.digest:
        return Changed(row, newest)
    row.name, row.description = workflow.name, workflow.description
    row.latest_version += 1
    row.revision += 1
    row.updated_at = now()
    version = _version(actor, row, workflow, row.latest_version)
    await queries.save(session, row)
    await queries.add(session, version)
    return Changed(row, version)


def _version(actor: Actor, row: WorkflowRow, workflow: Workflow, number: int) -> WorkflowVersionRow:
    return WorkflowVersionRow(
        id=uuid7(),
        organization_id=actor.organization_id,
        workflow_id=row.id,
        number=number,
        definition=workflow.to_dict(),
        digest=workflow.digest,
        created_by=actor.user_id,
        created_at=now(),
    )
