"""Conversations and runs: what the engine writes (S148).

No foreign keys here: a check on every insert would lock the parent's row while
the same turn updates it. The engine writes parent and child in one statement.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Enum, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Owned, Updated


class RunStatus(StrEnum):
    """Where a run is."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _values(kind: type[RunStatus]) -> list[str]:
    return [member.value for member in kind]


class SessionRow(Identified, Owned, Updated, Base):
    """A conversation; `revision` is what a turn compares and swaps, `summary` a view of the older messages."""

    __tablename__ = "sessions"

    agent_id: Mapped[UUID | None]
    title: Mapped[str] = mapped_column(default="", server_default="")
    summary: Mapped[dict[str, Any] | None]
    revision: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    message_count: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    # "metadata" is taken on a declarative class
    data: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict, server_default=text("'{}'"))

    __table_args__ = (Index("idx_sessions_organization", "organization_id", "id"),)


class MessageRow(Owned, Created, Base):
    """One message of a conversation, appended and never rewritten; `seq` counts from 1."""

    __tablename__ = "messages"

    session_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[UUID]
    run_id: Mapped[UUID | None]
    role: Mapped[str] = mapped_column(String(20))
    parts: Mapped[list[Any]]


class RunSnapshotRow(Owned, Base):
    """What a run pinned when it started (definition, prompts, tools), kept once per content."""

    __tablename__ = "run_snapshots"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-1)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    definition: Mapped[dict[str, Any]]


class RunRow(Identified, Owned, Created, Base):
    """One execution. `owner`, `epoch` and `lease_until` say which process works on it."""

    __tablename__ = "runs"

    kind: Mapped[str] = mapped_column(String(20), default="agent", server_default="agent")
    source: Mapped[str] = mapped_column(String(20), default="api", server_default="api")
    agent_id: Mapped[UUID | None]
    agent_version: Mapped[int | None]
    session_id: Mapped[UUID | None]
    snapshot: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[RunStatus] = mapped_column(
        Enum(
            RunStatus,
            native_enum=False,
            create_constraint=True,
            name="status",
            length=20,
            values_callable=_values,
        ),
        default=RunStatus.PENDING,
        server_default="pending",
    )
    input: Mapped[dict[str, Any] | None]
    output: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    input_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    output_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    cost_usd: Mapped[Decimal | None]
    owner: Mapped[str | None]
    epoch: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    lease_until: Mapped[datetime | None]
    created_by: Mapped[UUID | None]
    started_at: Mapped[datetime | None] = mapped_column(sort_order=92)
    completed_at: Mapped[datetime | None] = mapped_column(sort_order=93)
    duration_ms: Mapped[int | None] = mapped_column(sort_order=94)

    __table_args__ = (
        Index("idx_runs_organization", "organization_id", "id"),
        Index("idx_runs_session", "session_id", "id", postgresql_where=text("session_id IS NOT NULL")),
        Index("idx_runs_agent_started", "agent_id", text("started_at DESC")),
        # the reaper looks for runs whose process is gone
        Index("idx_runs_in_flight", "owner", postgresql_where=text("status IN ('pending', 'running')")),
    )


class RunStepRow(Owned, Created, Base):
    """One journaled step; `path` names it inside its run, `ord` is its place in the telling."""

    __tablename__ = "run_steps"

    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    ord: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str]
    input: Mapped[Any | None]
    output: Mapped[Any | None]
    is_error: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    duration_ms: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    input_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    output_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    cost_usd: Mapped[Decimal | None]


class ProcessRow(Base):
    """A live process of the product; one that stops beating loses its runs to the reaper."""

    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(primary_key=True)
    beat_at: Mapped[datetime]
