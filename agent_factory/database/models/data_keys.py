"""The keys that seal what is secret (S200)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified


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
