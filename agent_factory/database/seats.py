"""How many people an organisation has, counted so that nobody joins beside the count."""

from uuid import UUID

from sqlalchemy import text

from agent_factory.database.session import ReadSession, Session

_ONE_AT_A_TIME = text("select pg_advisory_xact_lock(hashtextextended('seats/' || :organization_id, 0))")
_TAKEN = text("""
    select count(*) from users
    where organization_id = cast(:organization_id as uuid) and status = 'active' and kind = 'person'
""")


async def hold_seats(session: Session, organization_id: UUID) -> int:
    """Count the active people; until the transaction ends, others who count wait."""
    await session.execute(_ONE_AT_A_TIME, {"organization_id": str(organization_id)})
    return await seats_taken(session, organization_id)


async def seats_taken(session: ReadSession, organization_id: UUID) -> int:
    """Count the active people of an organisation."""
    return await session.scalar(_TAKEN, {"organization_id": str(organization_id)}) or 0
