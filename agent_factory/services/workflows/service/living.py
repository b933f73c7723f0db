"""The life of a workflow: draft, active, deployed, paused, archived.

A run has its definition pinned when it starts, so none of these steps changes
a run in flight.
"""

from uuid import UUID

import msgspec

from agent_factory.api.etag import check
from agent_factory.core.agent import AgentStatus
from agent_factory.core.workflow import Workflow
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor
from agent_factory.services.workflows import queries
from agent_factory.services.workflows.rules import earlier_version, step
from agent_factory.services.workflows.service.changing import Changed
from agent_factory.services.workflows.service.checking import checked
from agent_factory.services.workflows.service.reading import get_version, held


class Moved(msgspec.Struct, frozen=True):
    """News that a workflow was deployed, in another version or again, or archived; `deployed` is what is in service."""

    workflow_id: UUID
    status: AgentStatus
    deployed: Workflow | None


async def activate(session: Session, actor: Actor, workflow_id: UUID, *, if_match: str | None = None) -> Changed:
    """Call a draft finished."""
    return await _move(session, actor, workflow_id, AgentStatus.ACTIVE, if_match=if_match)


async def deploy(
    session: Session,
    actor: Actor,
    platform: Platform,
    workflow_id: UUID,
    *,
    version: int | None = None,
    if_match: str | None = None,
) -> Changed:
    """Put a version into service, by default the newest; it has to be runnable here and now."""
    row = await held(session, actor, workflow_id)
    check(if_match, row.revision)
    step(AgentStatus(row.status), AgentStatus.DEPLOYED)
    number = row.latest_version if version is None else version
    chosen = await get_version(session, actor, workflow_id, number)
    read = await checked(session, actor, platform.resources, chosen.definition, row.id)
    row.deployed_version = number
    changed = await _move(session, actor, workflow_id, AgentStatus.DEPLOYED)
    await platform.news.tell(session, actor, Moved(workflow_id, AgentStatus.DEPLOYED, read.flow.workflow))
    return changed


async def rollback(
    session: Session,
    actor: Actor,
    platform: Platform,
    workflow_id: UUID,
    *,
    version: int | None = None,
    if_match: str | None = None,
) -> Changed:
    """Put an earlier version back into service, by default the one before the deployed one."""
    row = await held(session, actor, workflow_id)
    check(if_match, row.revision)
    step(AgentStatus(row.status), AgentStatus.DEPLOYED)
    return await deploy(session, actor, platform, workflow_id, version=earlier_version(row.deployed_version, version))


async def pause(session: Session, actor: Actor, workflow_id: UUID, *, if_match: str | None = None) -> Changed:
    """Take a workflow out of service until it is deployed again."""
    return await _move(session, actor, workflow_id, AgentStatus.PAUSED, if_match=if_match)


async def archive(
    session: Session, actor: Actor, platform: Platform, workflow_id: UUID, *, if_match: str | None = None
) -> Changed:
    """Put a workflow away for good; its name is free again, its runs stay."""
    changed = await _move(session, actor, workflow_id, AgentStatus.ARCHIVED, if_match=if_match)
    await platform.news.tell(session, actor, Moved(workflow_id, AgentStatus.ARCHIVED, None))
    return changed


async def _move(
    session: Session, actor: Actor, workflow_id: UUID, to: AgentStatus, *, if_match: str | None = None
) -> Changed:
    row = await held(session, actor, workflow_id)
    check(if_match, row.revision)
    step(AgentStatus(row.status), to)
    row.status = to
    row.revision += 1
    row.updated_at = now()
    await queries.save(session, row)
    return Changed(row, await get_version(session, actor, workflow_id, row.latest_version))
