"""What a caller may do at this very moment, for what lasts: whoever hands rights out, or makes a key."""

import msgspec

from agent_factory.database.models import UserRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth.queries import keys, memberships, rights


async def present(session: Session, actor: Actor) -> Actor:
    """Hold the caller's membership until the transaction ends, and give the caller with what he may do now.

    What a process has believed for some seconds must not be made to last.
    Raises `Denied` for who is no active member any more, or whose key is
    revoked or expired.
    """
    user = await memberships.member_to_change(session, actor, actor.user_id)
    if user is None:
        raise rbac.Denied("You are no longer a member.")
    if not user.active:
        raise rbac.Denied("Your membership is disabled.")
    scopes = actor.scopes
    if actor.key_id is not None:
        key = await keys.key(session, actor, actor.key_id, actor.user_id)
        if key is None or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now()):
            raise rbac.Denied("Your key is revoked or expired.")
        scopes = frozenset(key.scopes)
    standing = await rights.standing_of(session, user)
    # a service has the rights of its key, and no role
    held = scopes if user.kind == "service" else standing.rights
    return msgspec.structs.replace(actor, role=user.role, rights=held, scopes=scopes, grants=standing.grants)


async def holds(session: ReadSession, user: UserRow, wanted: frozenset[str]) -> bool:
    """Tell whether a member may do all of something now: by what he is, or a service by one of its keys."""
    if not user.active:
        return False
    if user.kind != "service":
        return wanted <= rbac.expand((await rights.standing_of(session, user)).rights)
    live = await keys.live_keys(session, user)
    return any(wanted <= rbac.expand(key.scopes) for key in live)
