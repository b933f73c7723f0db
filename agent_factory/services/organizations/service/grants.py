"""Rights of one person or one team to one agent or one workflow (S49)."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from agent_factory.database.models import GrantRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Conflict
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations import errors
from agent_factory.services.organizations.queries import grants as queries
from agent_factory.services.organizations.queries.grants import Wanted
from agent_factory.services.organizations.rules import MOST_GRANTS, checked_rights
from agent_factory.services.organizations.service.authority import acting
from agent_factory.services.organizations.service.teams import get_team

_MANAGE = "team:grant"


class To(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets rights, and to what: one of the first two, one of the last two."""

    user_id: UUID | None = None
    team_id: UUID | None = None
    agent_id: UUID | None = None
    workflow_id: UUID | None = None


async def get_grant(session: ReadSession, actor: Actor, grant_id: UUID) -> GrantRow:
    """Find a grant; raises `GrantNotFound`."""
    row = await queries.grant(session, actor, grant_id)
    if row is None:
        raise errors.GrantNotFound("There is no such grant in your organisation.")
    return row


async def list_grants(
    session: ReadSession, actor: Actor, limit: int, after: UUID | None, wanted: Wanted
) -> Page[GrantRow]:
    """List grants, newest first."""
    return await queries.grants(session, actor, limit, after, wanted)


async def grant(session: Session, actor: Actor, to: To, rights: Sequence[str]) -> GrantRow:
    """Give a person or a team rights to an agent or a workflow.

    Raises `UserNotFound`, `TeamNotFound`, `GrantedNotFound`, `UnknownRights`,
    `Denied` for what the caller lacks himself, or `Conflict` where there is
    such a grant already.
    """
    wanted = checked_rights(rights, _noun(to.agent_id))
    caller = await acting(session, actor, _MANAGE)
    receiver = await _receiver(session, caller, to)
    rbac.check_giving(caller, wanted, to.agent_id or to.workflow_id)
    if await queries.count(session, caller, receiver) >= MOST_GRANTS:
        raise errors.TooManyGrants(f"One person or team has at most {MOST_GRANTS} grants; give a role instead.")
    row = GrantRow(
        id=uuid7(),
        organization_id=caller.organization_id,
        rights=wanted,
        created_by=caller.user_id,
        created_at=now(),
        **msgspec.structs.asdict(to),
    )
    try:
        made = await queries.add(session, row)
    except Conflict:
        raise errors.GrantedNotFound("There is no such agent or workflow in your organisation.") from None
    if made is None:
        raise Conflict("They have a grant of this already; change that one.")
    return made


async def change_grant(session: Session, actor: Actor, grant_id: UUID, rights: Sequence[str]) -> GrantRow:
    """Give other rights by a grant; raises `GrantNotFound`, `UnknownRights` or `Denied`."""
    caller = await acting(session, actor, _MANAGE)
    row = await get_grant(session, caller, grant_id)
    wanted = checked_rights(rights, _noun(row.agent_id))
    resource = row.agent_id or row.workflow_id
    rbac.check_over(caller, row.rights, resource)
    rbac.check_giving(caller, wanted, resource)
    row.rights = wanted
    return row


async def revoke_grant(session: Session, actor: Actor, grant_id: UUID) -> None:
    """Take a grant back; raises `GrantNotFound` or `Denied`."""
    caller = await acting(session, actor, _MANAGE)
    row = await get_grant(session, caller, grant_id)
    rbac.check_over(caller, row.rights, row.agent_id or row.workflow_id)
    await queries.remove(session, row)


def _noun(agent_id: UUID | None) -> str:
    return "workflow" if agent_id is None else "agent"


async def _receiver(session: ReadSession, caller: Actor, to: To) -> UUID:
    if to.team_id is not None:
        return (await get_team(session, caller, to.team_id)).id
    assert to.user_id is not None, "the schema asks for one of both"
    return (await auth.get_user(session, caller, to.user_id)).id
