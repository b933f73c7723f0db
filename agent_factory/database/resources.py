"""Whether an organisation has what a grant could name."""

from uuid import UUID

from sqlalchemy import text

from agent_factory.database.session import ReadSession

_HAS = {
    "agent": text("select exists (select from agents where organization_id = :organization_id and id = :id)"),
    "workflow": text("select exists (select from workflows where organization_id = :organization_id and id = :id)"),
}


async def has_resource(session: ReadSession, organization_id: UUID, noun: str, resource_id: UUID) -> bool:
    """Tell whether an organisation has an agent or a workflow of this id."""
    return bool(await session.scalar(_HAS[noun], {"organization_id": organization_id, "id": resource_id}))
