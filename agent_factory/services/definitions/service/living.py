"""The life of a definition: draft, active, deployed, paused, archived (S55).

A run has its definition pinned when it starts, so none of these steps changes
a run in flight.
"""

from typing import Any
from uuid import UUID

from agent_factory.api.etag import check
from agent_factory.core.agent import AgentStatus
from agent_factory.database.models.definitions import Head
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor
from agent_factory.services.definitions import queries
from agent_factory.services.definitions.rules import earlier_version, step
from agent_factory.services.definitions.service.changing import Changed
from agent_factory.services.definitions.service.kinds import Definitions
from agent_factory.services.definitions.service.reading import get_version, held


async def activate(
    session: Session, actor: Actor, of: Definitions[Any], head_id: UUID, *, if_match: str | None = None
) -> Changed:
    """Call a draft finished."""
    head = await _before(session, actor, of, head_id, to=AgentStatus.ACTIVE, if_match=if_match)
    return await _move(session, actor, of, head, AgentStatus.ACTIVE)


async def deploy(
    session: Session,
    actor: Actor,
    of: Definitions[Any],
    platform: Platform,
    head_id: UUID,
    *,
    version: int | None = None,
    if_match: str | None = None,
) -> Changed:
    """Put a version into service, by default the newest; it has to be runnable here and now."""
    head = await _before(session, actor, of, head_id, to=AgentStatus.DEPLOYED, if_match=if_match)
    return await _put(session, actor, of, platform, head, number=head.latest_version if version is None else version)


async def rollback(
    session: Session,
    actor: Actor,
    of: Definitions[Any],
    platform: Platform,
    head_id: UUID,
    *,
    version: int | None = None,
    if_match: str | None = None,
) -> Changed:
    """Put an earlier version back into service, by default the one before the deployed one."""
    head = await _before(session, actor, of, head_id, to=AgentStatus.DEPLOYED, if_match=if_match)
    number = earlier_version(of.kind, head.deployed_version, version)
    return await _put(session, actor, of, platform, head, number=number)


async def pause(
    session: Session, actor: Actor, of: Definitions[Any], head_id: UUID, *, if_match: str | None = None
) -> Changed:
    """Take a definition out of service until it is deployed again."""
    head = await _before(session, actor, of, head_id, to=AgentStatus.PAUSED, if_match=if_match)
    return await _move(session, actor, of, head, AgentStatus.PAUSED)


async def archive(
    session: Session,
    actor: Actor,
    of: Definitions[Any],
    platform: Platform,
    head_id: UUID,
    *,
    if_match: str | None = None,
) -> Changed:
    """Put a definition away for good; its name is free again, its runs stay."""
    head = await _before(session, actor, of, head_id, to=AgentStatus.ARCHIVED, if_match=if_match)
    changed = await _move(session, actor, of, head, AgentStatus.ARCHIVED)
    if of.news is not None:
        await platform.news.tell(session, actor, of.news(head_id, AgentStatus.ARCHIVED, None))
    return changed


async def _before(
    session: Session, actor: Actor, of: Definitions[Any], head_id: UUID, *, to: AgentStatus, if_match: str | None
) -> Head:
    head = await held(session, actor, of, head_id)
    check(if_match, head.revision)
    step(of.kind, head.status, to)
    return head


async def _put(
    session: Session, actor: Actor, of: Definitions[Any], platform: Platform, head: Head, *, number: int
) -> Changed:
    chosen = await get_version(session, actor, of, head.id, number)
    read = await of.checked(session, actor, platform.resources, chosen.definition, head.id)
    head.deployed_version = number
    changed = await _move(session, actor, of, head, AgentStatus.DEPLOYED)
    if of.news is not None:
        await platform.news.tell(session, actor, of.news(head.id, AgentStatus.DEPLOYED, read))
    return changed


async def _move(session: Session, actor: Actor, of: Definitions[Any], head: Head, to: AgentStatus) -> Changed:
    head.status = to
    head.revision += 1
    head.updated_at = now()
    await queries.save(session, head)
    return Changed(head, await get_version(session, actor, of, head.id, head.latest_version))
