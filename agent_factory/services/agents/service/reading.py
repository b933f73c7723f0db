"""Agents and versions, looked up."""

from uuid import UUID

from agent_factory.core.agent import AgentStatus
from agent_factory.database.models import AgentRow, AgentVersionRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page, page
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.agents import queries
from agent_factory.services.agents.errors import AgentNotFound, VersionNotFound

_ABSENT = "There is no such agent in your organisation."


async def get(session: ReadSession, actor: Actor, agent_id: UUID) -> tuple[AgentRow, AgentVersionRow]:
    """Find an agent and its newest version; raises `AgentNotFound`."""
    row = await queries.agent(session, actor, agent_id)
    if row is None:
        raise AgentNotFound(_ABSENT)
    return row, await get_version(session, actor, agent_id, row.latest_version)


async def held(session: Session, actor: Actor, agent_id: UUID) -> AgentRow:
    """Find an agent and hold it until the transaction ends; raises `AgentNotFound`."""
    row = await queries.agent_to_change(session, actor, agent_id)
    if row is None:
        raise AgentNotFound(_ABSENT)
    return row


async def list_agents(
    session: ReadSession,
    actor: Actor,
    limit: int,
    after: UUID | None,
    *,
    name: str | None = None,
    status: AgentStatus | None = None,
    permission: str = "agent:read",
) -> Page[AgentRow]:
    """List the agents to which the caller has a permission, newest first; archived ones only by status."""
    only = rbac.reach(actor, permission)
    rows = await queries.agents(session, actor, limit + 1, after, name=name, status=status, only=only)
    return page(rows, limit, rows[limit - 1].id if len(rows) > limit else None)


async def list_versions(
    session: ReadSession, actor: Actor, agent_id: UUID, limit: int, after: UUID | None
) -> Page[AgentVersionRow]:
    """List an agent's versions, newest first; raises `AgentNotFound`."""
    if await queries.agent(session, actor, agent_id) is None:
        raise AgentNotFound(_ABSENT)
    rows = await queries.versions(session, actor, agent_id, limit + 1, after)
    return page(rows, limit, rows[limit - 1].id if len(rows) > limit else None)


async def get_version(session: ReadSession, actor: Actor, agent_id: UUID, number: int) -> AgentVersionRow:
    """Find one version; raises `VersionNotFound`."""
    row = await queries.version(session, actor, agent_id, number)
    if row is None:
        raise VersionNotFound(f"There is no version {number} of such an agent in your organisation.")
    return row
