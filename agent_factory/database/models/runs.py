"""Conversations and runs: what the engine writes (S148, S158).

Runs and their steps lie in partitions by month of the run's id, which is its
time; see `database.retention`. No foreign keys here: a check on every insert would lock the parent's row while
the same turn updates it. The engine writes parent and child in one statement.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Enum, Index, String, UniqueConstraint, text
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
    """One execution of an agent or a workflow.

    `owner` and `epoch` say which process works on it. `attempts` counts how
    often processes died over it without getting further than `progress` steps;
    `signals` counts what happened that a waiting run wants to know of.
    `parent_run` and `parent_path` name the task that started it, `key_id` the
    API key, where one did.
    """

    __tablename__ = "runs"

    kind: Mapped[str] = mapped_column(String(20), default="agent", server_default="agent")
    source: Mapped[str] = mapped_column(String(20), default="api", server_default="api")
    agent_id: Mapped[UUID | None]
    agent_version: Mapped[int | None]
    session_id: Mapped[UUID | None]
    workflow_id: Mapped[UUID | None]
    workflow_version: Mapped[int | None]
    parent_run: Mapped[UUID | None]
    parent_path: Mapped[str | None]
    forked_from: Mapped[UUID | None]
    trigger: Mapped[str | None]
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
    priority: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    available_at: Mapped[datetime | None]
    labels: Mapped[list[str]] = mapped_column(default=list, server_default=text("'{}'"))
    input: Mapped[dict[str, Any] | None]
    output: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    input_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    output_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    cost_usd: Mapped[Decimal | None]
    owner: Mapped[str | None]
    epoch: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    attempts: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    progress: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    signals: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    created_by: Mapped[UUID | None]
    key_id: Mapped[UUID | None]
    started_at: Mapped[datetime | None] = mapped_column(sort_order=92)
    completed_at: Mapped[datetime | None] = mapped_column(sort_order=93)
    duration_ms: Mapped[int | None] = mapped_column(sort_order=94)

    __table_args__ = (
        Index("idx_runs_organization", "organization_id", "id"),
        Index("idx_runs_session", "session_id", "id", postgresql_where=text("session_id IS NOT NULL")),
        Index("idx_runs_agent_started", "agent_id", text("started_at DESC")),
        Index("idx_runs_workflow", "workflow_id", "id", postgresql_where=text("workflow_id IS NOT NULL")),
        # the reaper looks for runs whose process is gone
        Index("idx_runs_in_flight", "owner", postgresql_where=text("status = 'running'")),
        # workers take the next run of each organisation in turn, and count how many it has at work
        Index(
            "idx_runs_queue",
            "organization_id",
            text("priority DESC"),
            "id",
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "idx_runs_at_work",
            "organization_id",
            postgresql_where=text("status = 'running' AND kind = 'workflow'"),
        ),
        # usage is read by time, and what comes later lies behind
        Index("idx_runs_created_at", "created_at", postgresql_using="brin"),
        {"postgresql_partition_by": "RANGE (id)"},
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

    __table_args__ = (
        Index("idx_run_steps_created_at", "created_at", postgresql_using="brin"),
        {"postgresql_partition_by": "RANGE (run_id)"},
    )


class RunWaitRow(Owned, Created, Base):
    """Something that a run waits for at a path; `result` is what came, until the run has taken note of it."""

    __tablename__ = "run_waits"

    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    wake_at: Mapped[datetime | None]
    event_type: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    result: Mapped[Any | None]
    resolved_at: Mapped[datetime | None]

    __table_args__ = (
        Index("idx_run_waits_due", "wake_at", postgresql_where=text("resolved_at IS NULL AND wake_at IS NOT NULL")),
        Index(
            "idx_run_waits_event",
            "organization_id",
            "event_type",
            postgresql_where=text("resolved_at IS NULL AND event_type IS NOT NULL"),
        ),
    )


class ApprovalRow(Identified, Owned, Created, Base):
    """A question of a run to people: who may decide it, until when, and what was decided."""

    __tablename__ = "approvals"

    run_id: Mapped[UUID]
    path: Mapped[str]
    title: Mapped[str] = mapped_column(default="", server_default="")
    details: Mapped[Any | None]
    roles: Mapped[list[str]] = mapped_column(default=list, server_default=text("'{}'"))
    users: Mapped[list[str]] = mapped_column(default=list, server_default=text("'{}'"))
    deadline: Mapped[datetime | None]
    default_decision: Mapped[str | None] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20), default="pending", server_default="pending")
    decided_by: Mapped[UUID | None]
    decided_at: Mapped[datetime | None]
    comment: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'approved', 'denied', 'expired', 'cancelled')", name="status"),
        UniqueConstraint("run_id", "path"),
        Index("idx_approvals_organization", "organization_id", "id"),
        Index("idx_approvals_open", "organization_id", "id", postgresql_where=text("status = 'pending'")),
    )


class ProcessRow(Base):
    """A live process of the product; one that stops beating loses its runs to the reaper."""

    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(primary_key=True)
    beat_at: Mapped[datetime]
