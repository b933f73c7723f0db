"""Every statement over API keys."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Select, or_, select, update

from agent_factory.database.base import owned_by
from agent_factory.database.models import AccountRow, ApiKeyRow, UserRow
from agent_factory.database.pages import newest
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor


async def key_in_use(session: ReadSession, prefix: str) -> tuple[ApiKeyRow, UserRow] | None:
    """Find a key and its user, in whichever organisation, if key, user and account are all good."""
    found = await session.execute(
        select(ApiKeyRow, UserRow)
        .join(UserRow, UserRow.id == ApiKeyRow.user_id)
        .outerjoin(AccountRow, AccountRow.id == UserRow.account_id)
        .where(
            ApiKeyRow.prefix == prefix,
            ApiKeyRow.revoked_at.is_(None),
            or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now()),
            UserRow.status == "active",
            AccountRow.disabled_at.is_(None),
        )
    )
    row = found.one_or_none()
    return None if row is None else (row[0], row[1])


async def touch_key(session: Session, key_id: UUID, every: timedelta) -> None:
    """Note that a key is in use, unless that was noted less than `every` ago."""
    stale = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at < now() - every)
    await session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id, stale).values(last_used_at=now()))


async def key(session: ReadSession, actor: Actor, key_id: UUID, owner: UUID | None) -> ApiKeyRow | None:
    """Find one key of the organisation, or of one owner in it."""
    return (await session.scalars(_of(actor, owner).where(ApiKeyRow.id == key_id))).one_or_none()


async def keys(
    session: ReadSession, actor: Actor, owner: UUID | None, limit: int, after: UUID | None
) -> Page[ApiKeyRow]:
    """List the keys of the organisation, or of one owner in it, newest first."""
    return await newest(session, _of(actor, owner), ApiKeyRow, limit, after)


async def live_keys(session: ReadSession, user: UserRow) -> list[ApiKeyRow]:
    """List a member's keys that are neither revoked nor expired."""
    query = select(ApiKeyRow).where(
        ApiKeyRow.organization_id == user.organization_id,
        ApiKeyRow.user_id == user.id,
        ApiKeyRow.revoked_at.is_(None),
        or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now()),
    )
    return list(await session.scalars(query))


async def add(session: Session, row: ApiKeyRow) -> None:
    """Insert a key."""
    session.add(row)
    await session.flush()


def _of(actor: Actor, owner: UUID | None) -> Select[ApiKeyRow]:
    query = owned_by(actor, ApiKeyRow)
    return query if owner is None else query.where(ApiKeyRow.user_id == owner)
