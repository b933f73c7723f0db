"""Every statement over secrets."""

from uuid import UUID

from sqlalchemy import select

from agent_factory.database.base import owned_by
from agent_factory.database.models import SecretRow
from agent_factory.database.pages import newest
from agent_factory.database.pool import Pool
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor

_USED = """
update secrets set last_used_at = now()
where id = $1 and (last_used_at is null or last_used_at < now() - interval '1 minute')
"""


async def add_secret(session: Session, row: SecretRow) -> None:
    """Insert a secret."""
    session.add(row)
    await session.flush()
    await session.refresh(row)


async def secret(session: ReadSession, actor: Actor, secret_id: UUID) -> SecretRow | None:
    """Find one secret."""
    return (await session.scalars(owned_by(actor, SecretRow).where(SecretRow.id == secret_id))).one_or_none()


async def secret_named(session: ReadSession, organization_id: UUID, name: str) -> SecretRow | None:
    """Find an organisation's secret by its name."""
    query = select(SecretRow).where(SecretRow.organization_id == organization_id, SecretRow.name == name)
    return (await session.scalars(query)).one_or_none()


async def secrets(
    session: ReadSession, actor: Actor, limit: int, after: UUID | None, *, name: str | None
) -> Page[SecretRow]:
    """List secrets, newest first."""
    query = owned_by(actor, SecretRow)
    if name is not None:
        query = query.where(SecretRow.name == name)
    return await newest(session, query, SecretRow, limit, after)


async def save(session: Session, row: SecretRow) -> None:
    """Write a secret's changes now."""
    await session.flush()
    await session.refresh(row)


async def remove(session: Session, row: SecretRow) -> None:
    """Delete a secret."""
    await session.delete(row)
    await session.flush()


async def used(pool: Pool, secret_id: UUID) -> None:
    """Note that a secret was used, at most once a minute."""
    await pool.execute(_USED, secret_id)
