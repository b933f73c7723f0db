"""What organisations may use, what is held of that, and what was used (S207-S209).

What is held and used is written by functions of the database alone; see
`enterprise.multitenancy`.
"""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Numeric,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Owned, Updated

_COUNT = text("0")


class BudgetRow(Identified, Owned, Updated, Base):
    """What an organisation lets itself, one of its agents or one of its keys use in a period."""

    __tablename__ = "budgets"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), sort_order=-1)
    subject: Mapped[str] = mapped_column(String(20))
    agent_id: Mapped[UUID | None]
    key_id: Mapped[UUID | None]
    metric: Mapped[str] = mapped_column(String(20))
    period: Mapped[str] = mapped_column(String(20))
    amount: Mapped[Decimal]
    created_by: Mapped[UUID | None]

    __table_args__ = (
        CheckConstraint("subject IN ('organization', 'agent', 'api_key')", name="subject"),
        CheckConstraint(
            "(subject = 'agent') = (agent_id IS NOT NULL) AND (subject = 'api_key') = (key_id IS NOT NULL)",
            name="whose",
        ),
        CheckConstraint("metric IN ('usd', 'tokens', 'tool_calls', 'runs')", name="metric"),
        CheckConstraint("period IN ('run', 'day', 'month', 'total')", name="period"),
        CheckConstraint("amount >= 0 AND amount <= 1000000000000000", name="amount"),
        ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
        Index("idx_budgets_organization", "organization_id", "id"),
        Index(
            "uq_budgets_what",
            "organization_id",
            "subject",
            "agent_id",
            "key_id",
            "metric",
            "period",
            unique=True,
            postgresql_nulls_not_distinct=True,
            info={"taken": "There is a budget for this already; change its amount."},
        ),
    )


class QuotaRow(Owned, Base):
    """What an organisation's plan lets it use, instead of the installation's default; null is without a limit."""

    __tablename__ = "quotas"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), primary_key=True, sort_order=-1)
    metric: Mapped[str] = mapped_column(String(20), primary_key=True)
    amount: Mapped[Decimal | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=text("now()"))

    __table_args__ = (
        CheckConstraint("metric IN ('runs', 'tokens', 'usd', 'storage_bytes', 'seats')", name="metric"),
        CheckConstraint("amount >= 0 AND amount <= 1000000000000000", name="amount"),
    )


class MeterRow(Owned, Base):
    """What of one limit is used and held in the period that began at `since`."""

    __tablename__ = "meters"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-1)
    key: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(primary_key=True)
    run_id: Mapped[UUID | None]
    used: Mapped[Decimal] = mapped_column(default=Decimal(0), server_default=_COUNT)
    held: Mapped[Decimal] = mapped_column(default=Decimal(0), server_default=_COUNT)

    __table_args__ = (
        CheckConstraint("used >= 0 AND used < 1e18 AND held >= 0 AND held < 1e18", name="sane"),
        Index("idx_meters_since", "since"),
    )


class ReservationRow(Identified, Owned, Created, Base):
    """What one call holds of some meters until it is known what it used; `holder` is the process that makes it."""

    __tablename__ = "reservations"

    holder: Mapped[str]
    run_id: Mapped[UUID | None]
    path: Mapped[str | None]
    agent_id: Mapped[UUID | None]
    key_id: Mapped[UUID | None]
    model: Mapped[str | None]
    input_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=_COUNT)
    output_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=_COUNT)
    cost_usd: Mapped[Decimal | None]
    keys: Mapped[list[str]]
    metrics: Mapped[list[str]]
    amounts: Mapped[list[Decimal]] = mapped_column(ARRAY(Numeric))
    sinces: Mapped[list[datetime]] = mapped_column(ARRAY(DateTime(timezone=True)))

    __table_args__ = (Index("idx_reservations_holder", "holder"),)


class UsageDayRow(Owned, Base):
    """What was used on a day (UTC); without an agent or a key, their id is nil."""

    __tablename__ = "usage_days"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-1)
    day: Mapped[date] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(primary_key=True)
    key_id: Mapped[UUID] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    runs: Mapped[int] = mapped_column(BigInteger, default=0, server_default=_COUNT)
    calls: Mapped[int] = mapped_column(BigInteger, default=0, server_default=_COUNT)
    unconfirmed: Mapped[int] = mapped_column(BigInteger, default=0, server_default=_COUNT)
    input_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=_COUNT)
    output_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=_COUNT)
    cost_usd: Mapped[Decimal | None]


class UsageMarkRow(Base):
    """Up to when steps and runs are in the usage by day; one row."""

    __tablename__ = "usage_mark"

    id: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    until: Mapped[datetime]

    __table_args__ = (CheckConstraint("id", name="one"),)
