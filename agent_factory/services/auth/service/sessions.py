"""Where people are logged in: beginning, refreshing, showing and ending it (S29, S30)."""

import time
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from agent_factory.database.models import LoginRow, UserRow
from agent_factory.database.session import Session
from agent_factory.kit import ids
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page
from agent_factory.security import audit
from agent_factory.security.auth import Actor
from agent_factory.security.tokens import AuthSettings, Subject, Tokens
from agent_factory.services.auth.errors import BadRefresh, LoginNotFound, NoSession, NotAMember, RefreshOverlaps
from agent_factory.services.auth.queries import logins as queries
from agent_factory.services.auth.rules.keys import same
from agent_factory.services.auth.rules.refreshing import RefreshToken, first_token, next_token, read_token
from agent_factory.services.auth.service.verifying import Credentials

_KEPT = timedelta(days=30)
"""How long it is known that a session was, after its end."""
_LONGEST_DEVICE = 300
_LONGEST_ADDRESS = 64


class TokenPair(msgspec.Struct, frozen=True):
    """What a client goes on with; `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    session_id: UUID
    organization_id: UUID
    token_type: str = "Bearer"  # noqa: S105 - the scheme's name


class SessionView(msgspec.Struct, frozen=True):
    """One place where somebody is logged in; `current` is the one that asks."""

    id: UUID
    organization_id: UUID
    device: str
    address: str
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    current: bool


async def start_session(
    session: Session, tokens: Tokens, user: UserRow, *, device: str = "", address: str = ""
) -> TokenPair:
    """Log a person in, in a system transaction; whether it is that person was found out before."""
    assert user.account_id is not None, "a service has keys, and no sessions"
    moment = now()
    await queries.forget(session, user.account_id, moment - _KEPT)
    token = first_token(uuid7())
    row = LoginRow(
        id=token.login_id,
        account_id=user.account_id,
        organization_id=user.organization_id,
        user_id=user.id,
        family_hash=token.family_hash,
        token_hash=token.own_hash,
        device=device.replace("\0", "")[:_LONGEST_DEVICE],
        address=address[:_LONGEST_ADDRESS],
        created_at=moment,
        refreshed_at=moment,
        expires_at=_expiry(moment, moment, tokens.settings),
    )
    await queries.add(session, row)
    return await _pair(tokens, row, token)


async def refresh(credentials: Credentials, text: str, organization_id: UUID | None = None) -> TokenPair:
    """Give new tokens for a refresh token, which is used up by it; with an organisation, act in that one from now on.

    Raises `BadRefresh`. A token that was used before ends its session, for
    somebody else has a copy of it; only who asked before the other use was
    done is told `RefreshOverlaps`, and nothing ends.
    """
    arrived = time.monotonic()
    token = read_token(text)
    if token is None:
        raise _bad()
    async with credentials.database.system() as session:
        # a refusal is returned, not raised, because the end of the session has to be committed
        given = await _turn(session, credentials.tokens, token, organization_id, arrived)
    if isinstance(given, BadRefresh):
        credentials.forget(session_id=token.login_id)
    if isinstance(given, Problem):
        raise given
    return given


async def logout(credentials: Credentials, actor: Actor) -> None:
    """End the caller's session; raises `NoSession` for an API key."""
    if actor.session_id is None:
        raise NoSession("An API key has no session; revoke the key instead.")
    async with credentials.database.system() as session:
        await queries.end(session, actor.session_id, "logout")
        await _record(session, actor, "auth.logout", actor.session_id)
    credentials.forget(session_id=actor.session_id)


async def logout_everywhere(credentials: Credentials, actor: Actor) -> None:
    """End every session of the caller's account, in whichever organisation, and this one too."""
    async with credentials.database.system() as session:
        account_id = await queries.account_of(session, actor.user_id)
        ended = await end_sessions(session, account_id, reason="logout_everywhere") if account_id else []
        await _record(session, actor, "auth.logout_everywhere", actor.session_id)
    for session_id in ended:
        credentials.forget(session_id=session_id)


async def end_sessions(
    session: Session, account_id: UUID, *, but: UUID | None = None, reason: str = "ended"
) -> list[UUID]:
    """End every session of an account but one, in a system transaction; `reason` has at most 20 characters."""
    return await queries.end_all(session, account_id, reason, but)


async def list_sessions(credentials: Credentials, actor: Actor, limit: int, after: UUID | None) -> Page[SessionView]:
    """List where the caller's account is logged in, newest first; a service is nowhere."""
    async with credentials.database.system() as session:
        account_id = await queries.account_of(session, actor.user_id)
        if account_id is None:
            return Page([], None, has_more=False)
        found = await queries.logins(session, account_id, limit, after)
    return Page([_shown(row, actor) for row in found.data], found.next_cursor, found.has_more)


async def end_session(credentials: Credentials, actor: Actor, session_id: UUID) -> None:
    """End one session of the caller's account; raises `LoginNotFound`."""
    async with credentials.database.system() as session:
        account_id = await queries.account_of(session, actor.user_id)
        row = await queries.login(session, account_id, session_id) if account_id else None
        if row is None:
            raise LoginNotFound("You have no such session; it may have ended.")
        await queries.end(session, row.id, "ended")
        await _record(session, actor, "auth.session_ended", row.id)
    credentials.forget(session_id=session_id)


async def _turn(
    session: Session, tokens: Tokens, token: RefreshToken, organization_id: UUID | None, arrived: float
) -> TokenPair | BadRefresh | RefreshOverlaps:
    seen = await queries.newest_hash(session, token.login_id)
    row = await queries.held_login(session, token.login_id)
    if row is None or not same(row.family_hash, token.family_hash) or row.ended_at or row.expires_at <= now():
        return _bad()
    if not same(row.token_hash, token.own_hash):
        asked_at = await queries.clock(session) - timedelta(seconds=time.monotonic() - arrived)
        # it was the newest while this request waited for its turn, or for a connection
        if (seen is not None and same(seen, token.own_hash)) or asked_at <= row.refreshed_at:
            return _overlaps()
        return await _used_before(session, row)
    memberships = await queries.open_memberships(session, row.account_id)
    if not memberships:
        return _bad()
    user = _chosen(memberships, row, organization_id)
    row.user_id, row.organization_id = user.id, user.organization_id
    following = next_token(token)
    pair = await _pair(tokens, row, following)
    row.token_hash = following.own_hash
    row.refreshed_at = await queries.clock(session)
    row.expires_at = _expiry(row.created_at, row.refreshed_at, tokens.settings)
    row.address = (audit.origin().address or row.address)[:_LONGEST_ADDRESS]
    return pair


async def _used_before(session: Session, row: LoginRow) -> BadRefresh:
    """End a session of which somebody has a copy."""
    await queries.end(session, row.id, "reuse")
    event = audit.Event(
        action="auth.refresh_reused",
        organization_id=row.organization_id,
        user_id=row.user_id,
        resource=ids.encode("lgn", row.id),
        outcome=audit.Outcome.REFUSED,
    )
    await audit.record(session, event)
    return _bad()


def _chosen(memberships: list[UserRow], row: LoginRow, organization_id: UUID | None) -> UserRow:
    """Pick the membership that is asked for, else the one of last time, else the oldest."""
    wanted = organization_id or row.organization_id
    for membership in memberships:
        if membership.organization_id == wanted:
            return membership
    if organization_id is not None:
        raise NotAMember("There is no such organisation, or you do not belong to it.")
    return memberships[0]


async def _pair(tokens: Tokens, row: LoginRow, token: RefreshToken) -> TokenPair:
    access = await tokens.issue(Subject(row.user_id, row.organization_id, row.id))
    return TokenPair(access, str(token), tokens.settings.access_seconds, row.id, row.organization_id)


async def _record(session: Session, actor: Actor, action: str, session_id: UUID | None) -> None:
    resource = ids.encode("lgn", session_id) if session_id else None
    await audit.record(session, audit.Event(action=action, actor=actor, resource=resource))


def _expiry(began: datetime, used: datetime, settings: AuthSettings) -> datetime:
    return min(began + timedelta(days=settings.session_days), used + timedelta(days=settings.idle_days))


def _shown(row: LoginRow, actor: Actor) -> SessionView:
    return SessionView(
        id=row.id,
        organization_id=row.organization_id,
        device=row.device,
        address=row.address,
        created_at=row.created_at,
        refreshed_at=row.refreshed_at,
        expires_at=row.expires_at,
        current=row.id == actor.session_id,
    )


def _overlaps() -> RefreshOverlaps:
    return RefreshOverlaps("Another request was using this token at the same moment; go on with what that one got.")


def _bad() -> BadRefresh:
    return BadRefresh("The refresh token is not good any more; log in again.")
