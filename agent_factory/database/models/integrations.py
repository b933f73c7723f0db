"""What organisations' agents and workflows reach other systems with (S149)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Identified, Owned, Sealed, Updated


class SecretRow(Identified, Owned, Updated, Base):
    """A value that an organisation's agents and workflows may have sent to some hosts, and that nobody is shown.

    `fingerprint` changes with every new value, and says nothing about it.
    """

    __tablename__ = "secrets"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"), sort_order=-1)
    name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(String(1000))
    hosts: Mapped[list[str]]
    value: Mapped[Sealed]
    fingerprint: Mapped[str] = mapped_column(String(16))
    created_by: Mapped[UUID | None]
    last_used_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("organization_id", "name", info={"taken": "A secret of your organisation has this name."}),
        Index("idx_secrets_organization", "organization_id", "id"),
    )
