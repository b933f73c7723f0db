"""The deployed agents of an organisation, as others see them."""

from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager

import msgspec

from agent_factory.api.paging import Paging
from agent_factory.core.agent import AgentStatus
from agent_factory.database.models.definitions import Head
from agent_factory.kit import ids
from agent_factory.kit.errors import NotFound
from agent_factory.kit.pages import Page, read_cursor
from agent_factory.runtime.platform import Platform
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.agents import service as agents
from agent_factory.services.agents.errors import AgentNotDeployed
from agent_factory.services.definitions import service as definitions
from agent_factory.services.gateway.errors import ModelNotFound
from agent_factory.services.runs.errors import SessionNotFound

_PAGE = 100


class Offer(msgspec.Struct, frozen=True):
    """A deployed agent as others see it."""

    id: str
    name: str
    description: str
    created: int
    organization: str


async def offers(platform: Platform, actor: Actor, permission: str, cursor: str | None) -> Page[Offer]:
    """List the deployed agents to which a caller has a permission, newest first, a page at a time."""
    async with platform.database.read(actor.organization_id) as session:
        found = await definitions.list_definitions(
            session,
            actor,
            agents.AGENTS,
            Paging(_PAGE, read_cursor(cursor)),
            status=AgentStatus.DEPLOYED,
            permission=permission,
        )
    return Page([_offer(row) for row in found.data], found.next_cursor, found.has_more)


async def all_offers(platform: Platform, actor: Actor) -> AsyncGenerator[Offer, None]:
    """List every deployed agent that a caller may read, newest first."""
    cursor: str | None = None
    while True:
        found = await offers(platform, actor, "agent:read", cursor)
        for each in found.data:
            yield each
        cursor = found.next_cursor
        if cursor is None:
            return


async def offer(platform: Platform, actor: Actor, permission: str, ref: str) -> Offer:
    """Find a deployed agent by id or name; raises `ModelNotFound`, or `Denied` without the permission to it."""
    with as_model(ref):
        async with platform.database.read(actor.organization_id) as session:
            pinned = await agents.pin(session, actor, ref)
            rbac.check(actor, permission, pinned.agent_id)
            row, _ = await definitions.get(session, actor, agents.AGENTS, pinned.agent_id)
    return _offer(row)


@contextmanager
def as_model(ref: str) -> Generator[None]:
    """Tell of an agent that cannot be asked as of a model that is not there."""
    try:
        yield
    except AgentNotDeployed as problem:
        raise ModelNotFound(f"{problem.detail} Only deployed agents can be asked here.") from None
    except SessionNotFound:
        raise
    except NotFound:
        raise ModelNotFound(f"There is no deployed agent {ref[:100]!r} in your organisation.") from None


def _offer(row: Head) -> Offer:
    return Offer(
        id=ids.encode("agt", row.id),
        name=row.name,
        description=row.description,
        created=int(row.created_at.timestamp()),
        organization=ids.encode("org", row.organization_id),
    )
