"""The keys that seal what is secret, and the secrets of organisations (S149, S200)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Owned, Sealed, Updated


class DataKeyRow(Identified, Created, Base):
    """A key that seals the values of one organisation, or of the installation itself where there is none.

    It is wrapped by the key named in `kek`. Requests do not reach this table.
    """

    __tablename__ = "data_keys"

    organization_id: Mapped[UUID | None] = mapped_column(sort_order=-1)
    kek: Mapped[str]
    wrapped: Mapped[bytes]
    retired_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_data_keys_active",
            "organization_id",
            unique=True,
            postgresql_where=text("retired_at IS NULL"),
            postgresql_nulls_not_distinct=True,
        ),
        Index("idx_data_keys_organization", "organization_id", "id"),
    )


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
