"""The statements behind the audit trail: appending, sealing, signing and reading back."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import insert

from agent_factory.database.models import AuditEventRow
from agent_factory.database.pool import Pool
from agent_factory.database.session import Session


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is written; PostgreSQL adds when."""

    id: UUID
    organization_id: UUID | None
    user_id: UUID | None
    key_id: UUID | None
    session_id: UUID | None
    role: str | None
    action: str
    resource: str | None
    outcome: str
    request_id: str | None
    address: str | None
    user_agent: str | None
    details: dict[str, Any]


_FIELDS = Record.__struct_fields__
_APPEND = f"""
insert into audit_events ({", ".join(_FIELDS)})
values ({", ".join(f"${n}" for n in range(1, len(_FIELDS)))}, ${len(_FIELDS)}::jsonb)
"""  # noqa: S608 - the names are the struct's own


async def append(session: Session, record: Record) -> None:
    """Write an event into a transaction."""
    await session.execute(insert(AuditEventRow).values(msgspec.structs.asdict(record)))


async def append_alone(pool: Pool, record: Record) -> None:
    """Write an event in a transaction of its own, for whichever organisation."""
    *plain, details = (getattr(record, name) for name in _FIELDS)
    await pool.execute(_APPEND, *plain, msgspec.json.encode(details).decode())
