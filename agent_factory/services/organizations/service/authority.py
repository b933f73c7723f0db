"""Whether a caller may change who may do what, as things stand at this very moment."""

from agent_factory.database.models import UserRow
from agent_factory.database.session import Session
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations import errors
from agent_factory.services.organizations.queries import organizations as queries


async def acting(session: Session, actor: Actor, permission: str) -> Actor:
    """Hold the organisation until the transaction ends, and give the caller with what he may do now.

    What a process has believed for some seconds must not be made to last: who
    has just lost a right gives nobody anything by it. Raises `Denied`.
    """
    row = await queries.hold(session, actor.organization_id)
    if row is None:
        raise errors.OrganizationNotFound("The organisation is gone.")
    caller = await auth.present(session, actor)
    rbac.check(caller, permission)
    return caller


async def check_over(session: Session, caller: Actor, member: UserRow) -> None:
    """Raise `Denied` unless the caller may do all that a member may: nobody acts on those above him."""
    standing = await auth.standing_of(session, member)
    rbac.check_over(caller, standing.rights)


async def keep_an_owner(session: Session, actor: Actor, leaving: UserRow) -> None:
    """Raise `LastOwner` if nobody would be left to lead; call it with the organisation held (abuse 47)."""
    if leaving.role in rbac.OWNERS and leaving.active and not await auth.other_owners(session, actor, leaving.id):
        raise errors.LastOwner
