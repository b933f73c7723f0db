"""What the edge keeps: counters of the rate limiter, and the origins that organisations allow (S24, S191)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Double, ForeignKey, Index, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created


class RateCounterRow(Base):
    """One counter: when it is whole again, and the last question about it with the units that it gave.

    `key` is a digest, so that no address of anybody is kept.
    """

    __tablename__ = "rate_counters"

    key: Mapped[bytes] = mapped_column(primary_key=True)
    whole_at: Mapped[float] = mapped_column(Double)
    units: Mapped[int]
    need: Mapped[int]
    extra: Mapped[int]
    tick: Mapped[float] = mapped_column(Double)
    span: Mapped[float] = mapped_column(Double)

    __table_args__ = ({"prefixes": ["UNLOGGED"]},)


class RateUseRow(Base):
    """When limits were last used, in one row that a crash does not empty as it empties the counters."""

    __tablename__ = "rate_uses"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    used_at: Mapped[datetime]


class OrganizationOriginRow(Created, Base):
    """An origin whose pages may read an organisation's answers."""

    __tablename__ = "organization_origins"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"), primary_key=True)
    origin: Mapped[str] = mapped_column(String(300), primary_key=True)

    __table_args__ = (Index("idx_organization_origins_origin", "origin"),)
