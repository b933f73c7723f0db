"""Answers kept under their idempotency key."""

from typing import Any
from uuid import UUID

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Owned


class IdempotencyKeyRow(Owned, Created, Base):
    """One request and, once it is answered, its answer; `status` is null while it is in flight."""

    __tablename__ = "idempotency_keys"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-1)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    method_path: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[bytes]
    status: Mapped[int | None]
    response: Mapped[bytes | None]
    headers: Mapped[dict[str, Any] | None]

    __table_args__ = (Index("idx_idempotency_keys_created_at", "created_at"),)
