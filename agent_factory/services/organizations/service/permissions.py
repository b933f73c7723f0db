"""Whether somebody may do something: the specification's `checkPermissions` (S43)."""

from uuid import UUID

from agent_factory.database.resources import has_resource
from agent_factory.database.session import ReadSession
from agent_factory.kit import ids
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations.errors import GrantedNotFound

_NOUNS = {"agt": "agent", "wf": "workflow"}
"""The nouns of resources that grants can name, by the prefixes of their ids."""


async def check_permissions(
    session: ReadSession, actor: Actor, user_id: UUID | None, resource: str, action: str
) -> bool:
    """Tell whether somebody, by default the caller, may do an action to a resource.

    `resource` is a noun (`agent`) or the id of one agent or workflow. Of others
    only those who manage people are told. Raises `Denied`, `UserNotFound`,
    `GrantedNotFound` for what the organisation does not have, or `Invalid` for
    a resource or action that nobody knows.
    """
    noun, resource_id = _resource(resource)
    permission = f"{noun}:{action}"
    if permission not in rbac.PERMISSIONS:
        known = ", ".join(rbac.VERBS[noun])
        raise Invalid("There is no such permission.", errors=[FieldError("/action", f"is none of: {known}")])
    who = actor if user_id is None or user_id == actor.user_id else await _other(session, actor, user_id)
    allowed = who is not None and rbac.may(who, permission, resource_id)
    # only whoever may hears that it is not there: to others, ids say nothing
    if allowed and resource_id and not await has_resource(session, actor.organization_id, noun, resource_id):
        raise GrantedNotFound("There is no such agent or workflow in your organisation.")
    return allowed


async def _other(session: ReadSession, actor: Actor, user_id: UUID) -> Actor | None:
    """Give somebody else with what he may do now; None where he may do nothing."""
    rbac.check(actor, "user:manage")
    user = await auth.get_user(session, actor, user_id)
    standing = await auth.standing_of(session, user)
    if not user.active:
        return None
    return Actor(
        organization_id=actor.organization_id,
        user_id=user.id,
        role=user.role,
        rights=standing.rights,
        grants=standing.grants,
    )


def _resource(resource: str) -> tuple[str, UUID | None]:
    if resource in rbac.NOUNS:
        return resource, None
    prefix = resource.partition("_")[0]
    noun = _NOUNS.get(prefix)
    if noun is None:
        known = ", ".join(sorted(rbac.NOUNS))
        raise Invalid("There is no such resource.", errors=[FieldError("/resource", f"is no id, and none of: {known}")])
    return noun, ids.decode(prefix, resource)
