"""API keys: making, listing and revoking."""

from datetime import datetime
from uuid import UUID

import msgspec

from agent_factory.database.models import ApiKeyRow, UserRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page, page
from agent_factory.security.auth import Actor
from agent_factory.services.auth.errors import KeyNotFound
from agent_factory.services.auth.queries import keys as queries
from agent_factory.services.auth.rules.keys import make_key


class IssuedKey(msgspec.Struct, frozen=True):
    """A new key and its secret, which is known only now."""

    row: ApiKeyRow
    secret: str


async def issue_key(session: Session, user: UserRow, *, name: str) -> IssuedKey:
    """Make a user's key, outside any request."""
    return await _issue(session, user.organization_id, user.id, name=name, expires_at=None, scopes=["*"])


async def create_key(session: Session, actor: Actor, *, name: str, expires_at: datetime | None) -> IssuedKey:
    """Make a key for the caller, which can do no more than the one that asks."""
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now()):
        raise Invalid(
            "The key would never work.",
            errors=[FieldError("/expires_at", "has to be in the future, with its offset from UTC")],
        )
    return await _issue(
        session, actor.organization_id, actor.user_id, name=name, expires_at=expires_at, scopes=sorted(actor.scopes)
    )


async def _issue(
    session: Session, organization_id: UUID, user_id: UUID, *, name: str, expires_at: datetime | None, scopes: list[str]
) -> IssuedKey:
    made = make_key()
    row = ApiKeyRow(
        id=uuid7(),
        organization_id=organization_id,
        user_id=user_id,
        name=name,
        prefix=made.prefix,
        hash=made.hash,
        scopes=scopes,
        expires_at=expires_at,
        created_at=now(),
    )
    await queries.add(session, row)
    return IssuedKey(row, made.secret)


async def get_key(session: ReadSession, actor: Actor, key_id: UUID) -> ApiKeyRow:
    """Find a key; raises `KeyNotFound`."""
    row = await queries.key(session, actor, key_id)
    if row is None:
        raise KeyNotFound("There is no such key in your organisation.")
    return row


async def list_keys(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[ApiKeyRow]:
    """List the organisation's keys, newest first."""
    rows = await queries.keys(session, actor, limit + 1, after)
    return page(rows, limit, rows[limit - 1].id if len(rows) > limit else None)


async def revoke_key(session: Session, actor: Actor, key_id: UUID) -> None:
    """Revoke a key; it is refused everywhere within 5 seconds. Doing it twice changes nothing."""
    row = await get_key(session, actor, key_id)
    if row.revoked_at is None:
        row.revoked_at = now()
