"""Definitions and their versions, looked up."""

from typing import Any
from uuid import UUID

from agent_factory.api.paging import Paging
from agent_factory.core.agent import AgentStatus
from agent_factory.database.models.definitions import Head, Version
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.definitions import queries
from agent_factory.services.definitions.service.kinds import Definitions


async def get(session: ReadSession, actor: Actor, of: Definitions[Any], head_id: UUID) -> tuple[Head, Version]:
    """Find a definition and its newest version; raises the kind's `not_found`."""
    row = _there(of, await queries.head(session, actor, of.kind.heads, head_id))
    return row, await get_version(session, actor, of, head_id, row.latest_version)


async def held(session: Session, actor: Actor, of: Definitions[Any], head_id: UUID) -> Head:
    """Find a definition and hold it until the transaction ends; raises the kind's `not_found`."""
    return _there(of, await queries.head_to_change(session, actor, of.kind.heads, head_id))


async def list_definitions(
    session: ReadSession,
    actor: Actor,
    of: Definitions[Any],
    paging: Paging,
    *,
    name: str | None = None,
    status: AgentStatus | None = None,
    permission: str | None = None,
) -> Page[Head]:
    """List the definitions that the caller may read, or has another permission to; archived ones only by status.

    The newest come first.
    """
    only = rbac.reach(actor, permission or f"{of.kind.noun}:read")
    return await queries.heads(
        session, actor, of.kind.heads, limit=paging.limit, after=paging.after, name=name, status=status, only=only
    )


async def list_versions(
    session: ReadSession, actor: Actor, of: Definitions[Any], head_id: UUID, paging: Paging
) -> Page[Version]:
    """List a definition's versions, newest first; raises the kind's `not_found`."""
    _there(of, await queries.head(session, actor, of.kind.heads, head_id))
    return await queries.versions(session, actor, of.kind.versions, head_id, limit=paging.limit, after=paging.after)


async def get_version(session: ReadSession, actor: Actor, of: Definitions[Any], head_id: UUID, number: int) -> Version:
    """Find one version; raises the kind's `version_not_found`."""
    row = await queries.version(session, actor, of.kind.versions, head_id, number)
    if row is None:
        raise of.kind.version_not_found(f"There is no version {number} of such {of.kind.one} in your organisation.")
    return row


def _there(of: Definitions[Any], row: Head | None) -> Head:
    if row is None:
        raise of.kind.not_found(f"There is no such {of.kind.noun} in your organisation.")
    return row
