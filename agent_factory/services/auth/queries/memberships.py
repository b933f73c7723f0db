"""Every statement over the memberships of people in organisations."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.orm import aliased

from agent_factory.database.base import owned_by
from agent_factory.database.models import AccountRow, ApiKeyRow, UserRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.security.auth import Actor


async def memberships(session: ReadSession, actor: Actor) -> list[UserRow]:
    """List the caller's memberships, here and by the same account elsewhere; for a system transaction."""
    own = aliased(UserRow)
    query = (
        select(UserRow)
        .join(own, or_(own.id == UserRow.id, own.account_id == UserRow.account_id))
        .where(own.id == actor.user_id, own.organization_id == actor.organization_id, UserRow.status == "active")
        .order_by(UserRow.organization_id.desc())
    )
    return list(await session.scalars(query))


async def member_to_change(session: Session, actor: Actor, user_id: UUID) -> UserRow | None:
    """Find one member and hold the row until the transaction ends."""
    query = owned_by(actor, UserRow).where(UserRow.id == user_id).with_for_update(key_share=True)
    return (await session.scalars(query)).one_or_none()


async def member_by_email(session: ReadSession, organization_id: UUID, email: str) -> UserRow | None:
    """Find the member with an address in any spelling."""
    query = select(UserRow).where(
        UserRow.organization_id == organization_id, func.lower(UserRow.email) == email.lower()
    )
    return (await session.scalars(query)).one_or_none()


async def members_by_ids(session: ReadSession, actor: Actor, ids: Collection[UUID]) -> list[UserRow]:
    """Find some members of the organisation."""
    return list(await session.scalars(owned_by(actor, UserRow).where(UserRow.id.in_(ids))))


async def count_active(session: ReadSession, actor: Actor, roles: Collection[str], *, without: UUID) -> int:
    """Count the active members who have one of some roles, without one of them."""
    query = select(func.count()).where(
        UserRow.organization_id == actor.organization_id,
        UserRow.role.in_(roles),
        UserRow.status == "active",
        UserRow.account_disabled_at.is_(None),
        UserRow.id != without,
    )
    return await session.scalar(query) or 0


async def has_role(session: ReadSession, actor: Actor, role: str) -> bool:
    """Tell whether a member has a role."""
    return await session.scalar(owned_by(actor, UserRow).where(UserRow.role == role).limit(1)) is not None


async def remove(session: Session, actor: Actor, row: UserRow) -> None:
    """Delete a membership with its keys."""
    await session.execute(
        delete(ApiKeyRow).where(ApiKeyRow.organization_id == actor.organization_id, ApiKeyRow.user_id == row.id)
    )
    await session.delete(row)
    await session.flush()


async def account_to_change(session: Session, actor: Actor) -> AccountRow | None:
    """Find the account that a caller is, unless it is disabled, and hold it until the system transaction ends."""
    query = (
        select(AccountRow)
        .join(UserRow, UserRow.account_id == AccountRow.id)
        .where(
            UserRow.id == actor.user_id,
            UserRow.organization_id == actor.organization_id,
            AccountRow.disabled_at.is_(None),
        )
        .with_for_update(of=AccountRow)
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(query)).one_or_none()


async def of_account(session: ReadSession, account_id: UUID) -> list[UserRow]:
    """List every membership of an account, also those that an organisation has disabled, by organisation."""
    query = select(UserRow).where(UserRow.account_id == account_id).order_by(UserRow.organization_id)
    return list(await session.scalars(query.execution_options(populate_existing=True)))


async def mark_disabled(session: Session, account_id: UUID, since: datetime | None) -> None:
    """Let every membership of an account know that it is disabled, or not any more."""
    await session.execute(update(UserRow).where(UserRow.account_id == account_id).values(account_disabled_at=since))


async def led_alone(session: ReadSession, account_id: UUID, roles: Collection[str]) -> list[UUID]:
    """List the organisations in which an account has one of some roles, and no other active member has."""
    other = aliased(UserRow)
    somebody_else = exists().where(
        other.organization_id == UserRow.organization_id,
        other.id != UserRow.id,
        other.role.in_(roles),
        other.status == "active",
        other.account_disabled_at.is_(None),
    )
    query = select(UserRow.organization_id).where(
        UserRow.account_id == account_id, UserRow.role.in_(roles), UserRow.status == "active", ~somebody_else
    )
    return list(await session.scalars(query.order_by(UserRow.organization_id)))
