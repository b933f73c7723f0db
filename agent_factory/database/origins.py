"""The origins whose pages may read an organisation's answers (S24)."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import delete, select

from agent_factory.database.models.limits import OrganizationOriginRow as Row
from agent_factory.database.pool import Pool
from agent_factory.database.session import ReadSession, Session


async def origins(session: ReadSession, organization_id: UUID) -> list[str]:
    """List the origins of an organisation, in order."""
    found = select(Row.origin).where(Row.organization_id == organization_id).order_by(Row.origin)
    return list(await session.scalars(found))


async def replace(session: Session, organization_id: UUID, wanted: Iterable[str]) -> None:
    """Let an organisation have these origins and no others."""
    kept = set(wanted)
    known = set(await origins(session, organization_id))
    gone = Row.origin.in_(known - kept)
    await session.execute(delete(Row).where(Row.organization_id == organization_id, gone))
    session.add_all([Row(organization_id=organization_id, origin=origin) for origin in kept - known])
    await session.flush()


async def organizations(pool: Pool, origin: str) -> frozenset[UUID]:
    """Find the organisations that allow an origin."""
    rows = await pool.fetch("select organization_id from organization_origins where origin = $1", origin, again=True)
    return frozenset(row["organization_id"] for row in rows)
