"""Every statement over organisations themselves."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import func, select

from agent_factory.database.models import OrganizationRow
from agent_factory.database.session import ReadSession, Session

_ONE_AT_A_TIME = 0x0AF0_B007
"""The advisory lock of the first start, so that two processes make one organisation."""


async def organization(session: ReadSession, organization_id: UUID) -> OrganizationRow | None:
    """Find one organisation."""
    return await session.get(OrganizationRow, organization_id)


async def organizations(session: ReadSession, ids: Collection[UUID]) -> list[OrganizationRow]:
    """Find some organisations, newest first."""
    query = select(OrganizationRow).where(OrganizationRow.id.in_(ids)).order_by(OrganizationRow.id.desc())
    return list(await session.scalars(query))


async def hold(session: Session, organization_id: UUID) -> OrganizationRow | None:
    """Find one organisation and hold it until the transaction ends, so that its people change one at a time."""
    query = (
        select(OrganizationRow)
        .where(OrganizationRow.id == organization_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(query)).one_or_none()


async def lock_first_start(session: Session) -> bool:
    """Wait for any other first start, then tell whether there is no organisation yet."""
    await session.execute(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    return (await session.scalar(select(OrganizationRow.id).limit(1))) is None


async def add(session: Session, row: OrganizationRow) -> None:
    """Insert an organisation."""
    session.add(row)
    await session.flush()
