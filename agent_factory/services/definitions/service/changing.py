"""Definitions made and changed; every change is a new version (S55, S63, S83, S99)."""

from typing import Any
from uuid import UUID

import msgspec

from agent_factory.api.etag import check, merge_patch
from agent_factory.core.agent import AgentStatus
from agent_factory.database.models.definitions import Head, Version
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor
from agent_factory.services.definitions import queries
from agent_factory.services.definitions.rules import Kind, may_change
from agent_factory.services.definitions.service.kinds import Definition, Definitions
from agent_factory.services.definitions.service.reading import get_version, held


class Changed(msgspec.Struct, frozen=True):
    """A definition's head after a change, and its newest version."""

    head: Head
    version: Version


async def create(
    session: Session, actor: Actor, of: Definitions[Any], platform: Platform, definition: dict[str, Any]
) -> Changed:
    """Make a draft with version 1; raises `Invalid` with pointers, or `Conflict` for a name that is taken."""
    read = await of.checked(session, actor, platform.resources, definition, None)
    await of.check_names(session, actor, definition, None)
    moment = now()
    head = of.kind.heads(
        id=uuid7(),
        organization_id=actor.organization_id,
        name=read.name,
        description=read.description,
        status=AgentStatus.DRAFT,
        latest_version=1,
        deployed_version=None,
        revision=1,
        created_by=actor.user_id,
        created_at=moment,
        updated_at=moment,
    )
    version = _version(actor, of.kind, head, read)
    await queries.add(session, head, version)
    return Changed(head, version)


async def patch(
    session: Session,
    actor: Actor,
    of: Definitions[Any],
    platform: Platform,
    head_id: UUID,
    *,
    change: dict[str, Any],
    if_match: str | None = None,
) -> Changed:
    """Apply a merge patch to the newest definition; without a difference nothing changes."""
    before = await _open(session, actor, of, head_id, if_match)
    return await _define(
        session, actor, of, platform, before, definition=merge_patch(before.version.definition, change)
    )


async def replace(
    session: Session,
    actor: Actor,
    of: Definitions[Any],
    platform: Platform,
    head_id: UUID,
    *,
    definition: dict[str, Any],
    if_match: str | None = None,
) -> Changed:
    """Make a definition the newest version; without a difference nothing changes."""
    before = await _open(session, actor, of, head_id, if_match)
    return await _define(session, actor, of, platform, before, definition=definition)


async def _open(session: Session, actor: Actor, of: Definitions[Any], head_id: UUID, if_match: str | None) -> Changed:
    head = await held(session, actor, of, head_id)
    check(if_match, head.revision)
    may_change(of.kind, head.status)
    return Changed(head, await get_version(session, actor, of, head_id, head.latest_version))


async def _define(
    session: Session,
    actor: Actor,
    of: Definitions[Any],
    platform: Platform,
    before: Changed,
    *,
    definition: dict[str, Any],
) -> Changed:
    head = before.head
    read = await of.checked(session, actor, platform.resources, definition, head.id)
    await of.check_names(session, actor, definition, before.version.definition)
    if read.digest == before.version.digest:
        return before
    head.rename(read.name)
    head.description = read.description
    head.latest_version += 1
    head.revision += 1
    head.updated_at = now()
    version = _version(actor, of.kind, head, read)
    await queries.save(session, head)
    await queries.add(session, version)
    return Changed(head, version)


def _version(actor: Actor, kind: Kind, head: Head, read: Definition) -> Version:
    return kind.versions(
        id=uuid7(),
        organization_id=actor.organization_id,
        head_id=head.id,
        number=head.latest_version,
        definition=read.to_dict(),
        digest=read.digest,
        created_by=actor.user_id,
        created_at=now(),
    )
