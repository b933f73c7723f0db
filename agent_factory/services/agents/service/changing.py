"""Agents made and changed; every change of a definition is a new version (S55, S63)."""

from typing import Any
from uuid import UUID

import msgspec

from agent_factory.api.etag import check, merge_patch
from agent_factory.core.agent import Agent, AgentStatus
from agent_factory.database.models import AgentRow, AgentVersionRow
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.compile import Resources
from agent_factory.security.auth import Actor
from agent_factory.services.agents import queries
from agent_factory.services.agents.rules import may_change
from agent_factory.services.agents.service.checking import checked
from agent_factory.services.agents.service.naming import check_calls
from agent_factory.services.agents.service.reading import get_version, held


class Changed(msgspec.Struct, frozen=True):
    """An agent after a change, and its newest version."""

    agent: AgentRow
    version: AgentVersionRow


async def create(session: Session, actor: Actor, resources: Resources, definition: dict[str, Any]) -> Changed:
    """Make a draft with version 1; raises `Invalid` with pointers, or `Conflict` for a name that is taken."""
    agent = await checked(session, actor, resources, definition)
    await check_calls(session, actor, agent)
    moment = now()
    row = AgentRow(
        id=uuid7(),
        organization_id=actor.organization_id,
        name=agent.name,
        description=agent.description,
        status=AgentStatus.DRAFT,
        latest_version=1,
        deployed_version=None,
        revision=1,
        created_by=actor.user_id,
        created_at=moment,
        updated_at=moment,
    )
    version = _version(actor, row, agent, 1)
    await queries.add(session, row, version)
    return Changed(row, version)


async def patch(
    session: Session,
    actor: Actor,
    resources: Resources,
    agent_id: UUID,
    *,
    change: dict[str, Any],
    if_match: str | None = None,
) -> Changed:
    """Apply a merge patch to the newest definition; without a difference nothing changes."""
    row = await _open(session, actor, agent_id, if_match)
    newest = await get_version(session, actor, agent_id, row.latest_version)
    return await _define(session, actor, resources, row, newest, definition=merge_patch(newest.definition, change))


async def replace(
    session: Session,
    actor: Actor,
    resources: Resources,
    agent_id: UUID,
    *,
    definition: dict[str, Any],
    if_match: str | None = None,
) -> Changed:
    """Make a definition the newest version; without a difference nothing changes."""
    row = await _open(session, actor, agent_id, if_match)
    newest = await get_version(session, actor, agent_id, row.latest_version)
    return await _define(session, actor, resources, row, newest, definition=definition)


async def _open(session: Session, actor: Actor, agent_id: UUID, if_match: str | None) -> AgentRow:
    row = await held(session, actor, agent_id)
    check(if_match, row.revision)
    may_change(AgentStatus(row.status))
    return row


async def _define(
    session: Session,
    actor: Actor,
    resources: Resources,
    row: AgentRow,
    newest: AgentVersionRow,
    *,
    definition: dict[str, Any],
) -> Changed:
    agent = await checked(session, actor, resources, definition)
    await check_calls(session, actor, agent, newest.definition)
    if agent.digest == newest.digest:
        return Changed(row, newest)
    if agent.name != row.name:
        row.former_names = sorted({*row.former_names, row.name})
    row.name, row.description = agent.name, agent.description
    row.latest_version += 1
    row.revision += 1
    row.updated_at = now()
    version = _version(actor, row, agent, row.latest_version)
    await queries.save(session, row)
    await queries.add(session, version)
    return Changed(row, version)


def _version(actor: Actor, row: AgentRow, agent: Agent, number: int) -> AgentVersionRow:
    return AgentVersionRow(
        id=uuid7(),
        organization_id=actor.organization_id,
        agent_id=row.id,
        number=number,
        definition=agent.to_dict(),
        digest=agent.digest,
        created_by=actor.user_id,
        created_at=now(),
    )
