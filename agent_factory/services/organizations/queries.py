"""Every statement over organisations."""

from uuid import UUID

from sqlalchemy import func, select

from agent_factory.database.models import OrganizationRow
from agent_factory.database.session import ReadSession, Session

_ONE_AT_A_TIME = 0x0AF0_B007
"""The advisory lock of the first start, so that two processes make one organisation."""


async def organization(session: ReadSession, organization_id: UUID) -> OrganizationRow | None:
    """Find one organisation."""
    return await session.get(OrganizationRow, organization_id)


async def lock_first_start(session: Session) -> bool:
    """Wait for any other first start, then tell whether there is no organisation yet."""
    await session.execute(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    return (await session.scalar(select(OrganizationRow.id).limit(1))) is None


async def add(session: Session, row: OrganizationRow) -> None:
    """Insert an organisation."""
    session.add(row)
    await session.flush()
