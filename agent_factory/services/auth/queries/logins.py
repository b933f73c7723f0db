"""Every statement over the places where people are logged in; for system transactions."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, delete, exists, func, or_, select, update

from agent_factory.database.models import AccountRow, ApiKeyRow, LoginRow, UserRow
from agent_factory.database.pages import newest
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor
from agent_factory.security.tokens import Subject
from agent_factory.services.auth.queries.accounts import AT_REST


async def add(session: Session, row: LoginRow) -> None:
    """Insert a login."""
    session.add(row)
    await session.flush()


async def person_of(session: ReadSession, subject: Subject) -> UserRow | None:
    """Find whom a token stands for, if the session, the person and the account are all good."""
    query = (
        select(UserRow)
        .join(LoginRow, LoginRow.account_id == UserRow.account_id)
        .join(AccountRow, AccountRow.id == UserRow.account_id)
        .where(
            LoginRow.id == subject.session_id,
            LoginRow.ended_at.is_(None),
            LoginRow.expires_at > now(),
            UserRow.id == subject.user_id,
            UserRow.organization_id == subject.organization_id,
            UserRow.status == "active",
            AccountRow.disabled_at.is_(None),
        )
    )
    return (await session.scalars(query)).one_or_none()


async def member(session: ReadSession, organization_id: UUID, email: str) -> UserRow | None:
    """Find the member whose account has a confirmed address, if person and account are good."""
    query = (
        select(UserRow)
        .join(AccountRow, AccountRow.id == UserRow.account_id)
        .where(
            UserRow.organization_id == organization_id,
            UserRow.status == "active",
            UserRow.kind == "person",
            func.lower(AccountRow.email) == email,
            AccountRow.verified_at.is_not(None),
            AccountRow.disabled_at.is_(None),
        )
    )
    return (await session.scalars(query)).one_or_none()


async def still_good(session: ReadSession, actor: Actor) -> bool:
    """Tell whether a caller who was let in would be let in now, but for the age of his token."""
    good = [
        UserRow.id == actor.user_id,
        UserRow.organization_id == actor.organization_id,
        UserRow.status == "active",
        AccountRow.disabled_at.is_(None),
    ]
    if actor.key_id is not None:
        unexpired = or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now())
        good.append(exists().where(ApiKeyRow.id == actor.key_id, ApiKeyRow.revoked_at.is_(None), unexpired))
    if actor.session_id is not None:
        alive = (LoginRow.ended_at.is_(None), LoginRow.expires_at > now())
        good.append(exists().where(LoginRow.id == actor.session_id, *alive))
    query = select(UserRow.id).outerjoin(AccountRow, AccountRow.id == UserRow.account_id).where(*good)
    return await session.scalar(query) is not None


async def newest_hash(session: ReadSession, login_id: UUID) -> bytes | None:
    """Give the hash of the newest refresh token of a login, without waiting for anybody."""
    return await session.scalar(select(LoginRow.token_hash).where(LoginRow.id == login_id))


async def held_login(session: Session, login_id: UUID) -> LoginRow | None:
    """Find a login and hold its row until the transaction ends."""
    query = select(LoginRow).where(LoginRow.id == login_id).with_for_update()
    return (await session.scalars(query)).one_or_none()


async def clock(session: ReadSession) -> datetime:
    """Ask the database what time it is: one clock for all processes."""
    moment = await session.scalar(select(func.clock_timestamp()))
    assert moment is not None, "a clock always tells"
    return moment


async def open_memberships(session: ReadSession, account_id: UUID) -> list[UserRow]:
    """List where an account may act, the oldest membership first, where nothing is done last; nowhere, if disabled."""
    query = (
        select(UserRow)
        .join(AccountRow, AccountRow.id == UserRow.account_id)
        .where(UserRow.account_id == account_id, UserRow.status == "active", AccountRow.disabled_at.is_(None))
        .order_by(AT_REST, UserRow.id)
    )
    return list(await session.scalars(query))


async def account_of(session: ReadSession, user_id: UUID) -> UUID | None:
    """Find the account behind a user; a service has none."""
    return await session.scalar(select(UserRow.account_id).where(UserRow.id == user_id))


async def logins(session: ReadSession, account_id: UUID, limit: int, after: UUID | None) -> Page[LoginRow]:
    """List where an account is logged in, newest first."""
    return await newest(session, _alive(account_id), LoginRow, limit, after)


async def login(session: ReadSession, account_id: UUID, login_id: UUID) -> LoginRow | None:
    """Find one place where an account is logged in."""
    return (await session.scalars(_alive(account_id).where(LoginRow.id == login_id))).one_or_none()


async def end(session: Session, login_id: UUID, reason: str) -> None:
    """End one login, if it has not ended."""
    await session.execute(
        update(LoginRow)
        .where(LoginRow.id == login_id, LoginRow.ended_at.is_(None))
        .values(ended_at=now(), end_reason=reason)
    )


async def end_all(session: Session, account_id: UUID, reason: str, but: UUID | None) -> list[UUID]:
    """End every login of an account but one, and name those that ended."""
    query = update(LoginRow).where(LoginRow.account_id == account_id, LoginRow.ended_at.is_(None))
    if but is not None:
        query = query.where(LoginRow.id != but)
    ended = await session.scalars(query.values(ended_at=now(), end_reason=reason).returning(LoginRow.id))
    return list(ended)


async def forget(session: Session, account_id: UUID, before: datetime) -> None:
    """Delete an account's logins that were over before a moment."""
    over = func.coalesce(LoginRow.ended_at, LoginRow.expires_at) < before
    await session.execute(delete(LoginRow).where(LoginRow.account_id == account_id, over))


def _alive(account_id: UUID) -> Select[LoginRow]:
    return select(LoginRow).where(
        LoginRow.account_id == account_id, LoginRow.ended_at.is_(None), LoginRow.expires_at > now()
    )
