"""What happened and who did it; the seals that chain it; the signatures over the chain (S196-S198)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, SmallInteger, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Identified, Sealed


class AuditEventRow(Identified, Base):
    """One thing that happened; the organisation is absent where nobody is known yet, as at a failed login.

    PostgreSQL itself says when: `occurred_at` is set by a trigger, whatever is inserted.
    """

    __tablename__ = "audit_events"

    organization_id: Mapped[UUID | None] = mapped_column(sort_order=-1)
    occurred_at: Mapped[datetime] = mapped_column(server_default=func.now())
    user_id: Mapped[UUID | None]
    key_id: Mapped[UUID | None]
    session_id: Mapped[UUID | None]
    role: Mapped[str | None] = mapped_column(String(50))
    action: Mapped[str] = mapped_column(String(100))
    resource: Mapped[str | None] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(20))
    request_id: Mapped[str | None] = mapped_column(String(128))
    address: Mapped[str | None] = mapped_column(String(64))
    user_agent: Mapped[str | None] = mapped_column(String(300))
    details: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))

    __table_args__ = (
        CheckConstraint("outcome IN ('succeeded', 'refused', 'failed', 'observed')", name="outcome"),
        Index("idx_audit_events_organization", "organization_id", "id"),
        Index("idx_audit_events_user", "organization_id", "user_id", "id"),
        Index("idx_audit_events_resource", "organization_id", "resource", "id"),
        Index("idx_audit_events_action", "action", "occurred_at"),
    )


class AuditPendingRow(Base):
    """An event that has no seal yet; a trigger puts it here, and who seals it takes it away."""

    __tablename__ = "audit_pending"

    event_id: Mapped[UUID] = mapped_column(primary_key=True)


class AuditSealRow(Base):
    """An event's place in the chain of all events (`sequence`), and in that of its organisation (`position`)."""

    __tablename__ = "audit_seals"

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_id: Mapped[UUID] = mapped_column(unique=True)
    organization_id: Mapped[UUID | None]
    position: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[bytes]
    previous: Mapped[bytes]
    hash: Mapped[bytes]
    own_previous: Mapped[bytes]
    own_hash: Mapped[bytes]
    sealed_at: Mapped[datetime]

    __table_args__ = (
        Index(
            "uq_audit_seals_position", "organization_id", "position", unique=True, postgresql_nulls_not_distinct=True
        ),
    )


class AuditKeyRow(Identified, Base):
    """A key of the trail: it signs checkpoints, or makes pseudonyms; its secret half is sealed by the vault."""

    __tablename__ = "audit_keys"

    purpose: Mapped[str] = mapped_column(String(20))
    public_key: Mapped[bytes]
    secret_key: Mapped[Sealed]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AuditCheckpointRow(Base):
    """A signature over the events from `first` to `last`; `leaves` holds what was signed of each, as `version` says."""

    __tablename__ = "audit_checkpoints"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    first: Mapped[int] = mapped_column(BigInteger)
    last: Mapped[int] = mapped_column(BigInteger)
    head: Mapped[bytes]
    root: Mapped[bytes]
    leaves: Mapped[bytes]
    previous: Mapped[bytes]
    key_id: Mapped[UUID]
    signed_at: Mapped[datetime]
    signature: Mapped[bytes]
    version: Mapped[int] = mapped_column(SmallInteger, default=1, server_default=text("1"))

    __table_args__ = (Index("idx_audit_checkpoints_last", "last"),)
