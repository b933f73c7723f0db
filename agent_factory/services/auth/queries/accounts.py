"""Every statement over accounts and what proves that they are somebody's, in system transactions."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import CursorResult, delete, func, insert, or_, select, text, update

from agent_factory.database.models import (
    AccountRow,
    DeviceRow,
    MailedTokenRow,
    RecoveryCodeRow,
    UserRow,
)
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.security.auth import Actor
from agent_factory.security.passwords import Hashed

AT_REST = text("""
    (SELECT deleted_at IS NOT NULL OR suspended_at IS NOT NULL FROM organizations WHERE id = users.organization_id)
""")
"""Whether the organisation of a membership is suspended or deleted; false comes first."""
_SWEPT = 10
"""Rows that have had their time and are dropped whenever one is added: more than come."""


async def by_email(session: ReadSession, email: str) -> AccountRow | None:
    """Find the account with an address, in any spelling of it."""
    return (await session.scalars(select(AccountRow).where(func.lower(AccountRow.email) == email))).one_or_none()


async def alone_with(session: Session, email: str) -> None:
    """Wait until nobody else makes an account with an address, and keep others waiting until the transaction ends."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"account {email}", 0))))


async def held(session: Session, account_id: UUID) -> AccountRow:
    """Read an account and hold it until the transaction ends."""
    query = select(AccountRow).where(AccountRow.id == account_id).with_for_update()
    return (await session.scalars(query.execution_options(populate_existing=True))).one()


async def of_actor(session: ReadSession, actor: Actor) -> AccountRow | None:
    """Find the account that a caller is."""
    query = (
        select(AccountRow)
        .join(UserRow, UserRow.account_id == AccountRow.id)
        .where(UserRow.id == actor.user_id, UserRow.organization_id == actor.organization_id)
    )
    return (await session.scalars(query)).one_or_none()


async def memberships_of(session: ReadSession, email: str) -> list[UserRow]:
    """List the active memberships of the account with an address, oldest first; where nothing is done, last."""
    query = (
        select(UserRow)
        .join(AccountRow, UserRow.account_id == AccountRow.id)
        .where(func.lower(AccountRow.email) == email, UserRow.status == "active")
        .order_by(AT_REST, UserRow.created_at, UserRow.id)
    )
    return list(await session.scalars(query))


async def add(session: Session, row: AccountRow) -> None:
    """Insert an account."""
    session.add(row)
    await session.flush()


async def hash_anew(session: Session, account: AccountRow, hashed: Hashed) -> None:
    """Replace a hash by another one of the same password, unless the password was changed meanwhile."""
    await session.execute(
        update(AccountRow)
        .where(AccountRow.id == account.id, AccountRow.password_hash == account.password_hash)
        .values(password_hash=hashed)
    )


async def use_step(session: Session, account_id: UUID, step: int) -> bool:
    """Note that the code of a time step was used; false if it, or a later one, was before."""
    result = await session.execute(
        update(AccountRow)
        .where(AccountRow.id == account_id, or_(AccountRow.otp_step.is_(None), AccountRow.otp_step < step))
        .values(otp_step=step)
        .returning(AccountRow.id)
    )
    return result.one_or_none() is not None


async def keep_codes(session: Session, account_id: UUID, hashes: Iterable[bytes]) -> None:
    """Replace an account's recovery codes."""
    await session.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.account_id == account_id))
    rows = [{"account_id": account_id, "hash": each} for each in hashes]
    if rows:
        await session.execute(insert(RecoveryCodeRow), rows)


async def use_code(session: Session, account_id: UUID, code_hash: bytes) -> bool:
    """Use up a recovery code; false if there is none such any more."""
    result = await session.execute(
        delete(RecoveryCodeRow).where(RecoveryCodeRow.account_id == account_id, RecoveryCodeRow.hash == code_hash)
    )
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


async def count_codes(session: ReadSession, account_id: UUID) -> int:
    """Count the recovery codes that are left."""
    return await session.scalar(select(func.count()).where(RecoveryCodeRow.account_id == account_id)) or 0


async def add_token(
    session: Session, account_id: UUID | None, purpose: str, token_hash: bytes, lifetime: timedelta
) -> None:
    """Keep a mailed token; those that have had their time make room."""
    expired = select(MailedTokenRow.id).where(MailedTokenRow.expires_at <= now()).limit(_SWEPT)
    await session.execute(
        delete(MailedTokenRow).where(MailedTokenRow.id.in_(expired.with_for_update(skip_locked=True)))
    )
    row = MailedTokenRow(account_id=account_id, purpose=purpose, hash=token_hash, expires_at=now() + lifetime)
    session.add(row)
    await session.flush()


async def account_of_token(session: ReadSession, purpose: str, token_hash: bytes, email: str) -> AccountRow | None:
    """Find whom a token was mailed to, while it is good for a purpose and for that address."""
    query = (
        select(AccountRow)
        .join(MailedTokenRow, MailedTokenRow.account_id == AccountRow.id)
        .where(
            MailedTokenRow.purpose == purpose,
            MailedTokenRow.hash == token_hash,
            MailedTokenRow.expires_at > now(),
            func.lower(AccountRow.email) == email,
        )
    )
    return (await session.scalars(query)).one_or_none()


async def use_token(session: Session, purpose: str, token_hash: bytes) -> bool:
    """Use up a token; false if somebody was faster."""
    result = await session.execute(
        delete(MailedTokenRow)
        .where(MailedTokenRow.purpose == purpose, MailedTokenRow.hash == token_hash, MailedTokenRow.expires_at > now())
        .returning(MailedTokenRow.id)
    )
    return result.one_or_none() is not None


async def drop_tokens(session: Session, account_id: UUID) -> None:
    """Make every token that was mailed to an account worthless."""
    await session.execute(delete(MailedTokenRow).where(MailedTokenRow.account_id == account_id))


async def device(session: ReadSession, email: str, device_hash: bytes, *, since: datetime) -> UUID | None:
    """Find a device that the account with an address was used from after a moment."""
    return await session.scalar(
        select(DeviceRow.id)
        .join(AccountRow, DeviceRow.account_id == AccountRow.id)
        .where(func.lower(AccountRow.email) == email, DeviceRow.hash == device_hash, DeviceRow.last_used_at >= since)
    )


async def touch_device(session: Session, device_id: UUID) -> None:
    """Note that a device was used."""
    await session.execute(update(DeviceRow).where(DeviceRow.id == device_id).values(last_used_at=now()))


async def add_device(session: Session, account_id: UUID, device_hash: bytes, *, most: int, since: datetime) -> None:
    """Know a device from now on; of the others, the `most` that were used last and after `since` stay known."""
    others = select(DeviceRow.id).where(DeviceRow.account_id == account_id).order_by(DeviceRow.last_used_at.desc())
    await session.execute(
        delete(DeviceRow).where(
            DeviceRow.account_id == account_id,
            or_(DeviceRow.last_used_at < since, DeviceRow.id.not_in(others.limit(most))),
        )
    )
    session.add(DeviceRow(account_id=account_id, hash=device_hash, last_used_at=now()))
    await session.flush()


async def drop_devices(session: Session, account_id: UUID) -> None:
    """Know no device of an account any more."""
    await session.execute(delete(DeviceRow).where(DeviceRow.account_id == account_id))
