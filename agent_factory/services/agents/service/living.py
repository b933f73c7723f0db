"""The life of an agent: draft, active, deployed, paused, archived (S55).

A run has its definition pinned when it starts, so none of these steps changes
a run in flight.
"""

from uuid import UUID

from agent_factory.api.etag import check
from agent_factory.core.agent import AgentStatus
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.runtime.compile import Resources
from agent_factory.security.auth import Actor
from agent_factory.services.agents import queries
from agent_factory.services.agents.rules import earlier_version, step
from agent_factory.services.agents.service.changing import Changed
from agent_factory.services.agents.service.checking import checked
from agent_factory.services.agents.service.reading import get_version, held


async def activate(session: Session, actor: Actor, agent_id: UUID, *, if_match: str | None = None) -> Changed:
    """Call a draft finished."""
    return await _move(session, actor, agent_id, AgentStatus.ACTIVE, if_match=if_match)


async def deploy(
    session: Session,
    actor: Actor,
    resources: Resources,
    agent_id: UUID,
    *,
    version: int | None = None,
    if_match: str | None = None,
) -> Changed:
    """Put a version into service, by default the newest; it has to be runnable here and now."""
    row = await held(session, actor, agent_id)
    check(if_match, row.revision)
    step(AgentStatus(row.status), AgentStatus.DEPLOYED)
    number = row.latest_version if version is None else version
    chosen = await get_version(session, actor, agent_id, number)
    await checked(session, actor, resources, chosen.definition)
    row.deployed_version = number
    return await _move(session, actor, agent_id, AgentStatus.DEPLOYED)


async def rollback(
    session: Session,
    actor: Actor,
    resources: Resources,
    agent_id: UUID,
    *,
    version: int | None = None,
    if_match: str | None = None,
) -> Changed:
    """Put an earlier version back into service, by default the one before the deployed one."""
    row = await held(session, actor, agent_id)
    check(if_match, row.revision)
    step(AgentStatus(row.status), AgentStatus.DEPLOYED)
    return await deploy(session, actor, resources, agent_id, version=earlier_version(row.deployed_version, version))


async def pause(session: Session, actor: Actor, agent_id: UUID, *, if_match: str | None = None) -> Changed:
    """Take an agent out of service until it is deployed again."""
    return await _move(session, actor, agent_id, AgentStatus.PAUSED, if_match=if_match)


async def archive(session: Session, actor: Actor, agent_id: UUID, *, if_match: str | None = None) -> Changed:
    """Put an agent away for good; its name is free again, its runs and sessions stay."""
    return await _move(session, actor, agent_id, AgentStatus.ARCHIVED, if_match=if_match)


async def _move(
    session: Session, actor: Actor, agent_id: UUID, to: AgentStatus, *, if_match: str | None = None
) -> Changed:
    row = await held(session, actor, agent_id)
    check(if_match, row.revision)
    step(AgentStatus(row.status), to)
    row.status = to
    row.revision += 1
    row.updated_at = now()
    await queries.save(session, row)
    return Changed(row, await get_version(session, actor, agent_id, row.latest_version))
