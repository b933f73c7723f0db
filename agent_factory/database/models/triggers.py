"""What starts workflows by itself: webhooks, schedules and events (S90)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import PLAIN, Base, Created, Identified, Owned, Sealed, Updated


class TriggerRow(Identified, Owned, Updated, Base):
    """One way into a workflow; which columns count depends on `type`.

    `path` and `method` are a webhook's, and `sealed_secret` is what signs its
    calls (`secret` is one from before there were sealed ones, until it is);
    `timezone`, `misfire`, `next_at` and `last_at` are a schedule's, and
    `event_type` is an event trigger's. `key_id` is the API key that made it,
    whose runs are those that it starts.
    """

    __tablename__ = "triggers"

    workflow_id: Mapped[UUID]
    type: Mapped[str] = mapped_column(String(20))
    config: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    enabled: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    path: Mapped[str | None] = mapped_column(String(500))
    method: Mapped[str | None] = mapped_column(String(10))
    secret: Mapped[bytes | None]
    sealed_secret: Mapped[Sealed | None] = mapped_column(info={PLAIN: "secret"})
    event_type: Mapped[str | None]
    timezone: Mapped[str | None] = mapped_column(String(100))
    misfire: Mapped[str | None] = mapped_column(String(20))
    next_at: Mapped[datetime | None]
    last_at: Mapped[datetime | None]
    created_by: Mapped[UUID | None]
    key_id: Mapped[UUID | None]

    __table_args__ = (
        CheckConstraint("type IN ('webhook', 'cron', 'event')", name="type"),
        ForeignKeyConstraint(
            ["organization_id", "workflow_id"], ["workflows.organization_id", "workflows.id"], ondelete="CASCADE"
        ),
        Index("idx_triggers_workflow", "organization_id", "workflow_id"),
        Index(
            "uq_triggers_path",
            "path",
            unique=True,
            postgresql_where=text("path IS NOT NULL"),
            info={"taken": "Another webhook has this path; choose a path that is nobody's."},
        ),
        Index("idx_triggers_due", "next_at", postgresql_where=text("enabled AND next_at IS NOT NULL")),
        Index(
            "idx_triggers_event",
            "organization_id",
            "event_type",
            postgresql_where=text("enabled AND event_type IS NOT NULL"),
        ),
    )


class TriggerTickRow(Owned, Created, Base):
    """A moment at which a schedule has fired, so that no two processes fire it twice."""

    __tablename__ = "trigger_ticks"

    trigger_id: Mapped[UUID] = mapped_column(primary_key=True)
    tick_at: Mapped[datetime] = mapped_column(primary_key=True)
    run_id: Mapped[UUID | None]

    __table_args__ = (Index("idx_trigger_ticks_created_at", "created_at"),)


class EventRow(Identified, Owned, Created, Base):
    """Something that happened; `handled_at` is set once every trigger and wait has heard of it.

    `key` keeps a task that is done again from telling the same thing twice.
    """

    __tablename__ = "events"

    type: Mapped[str]
    data: Mapped[Any | None]
    key: Mapped[str | None]
    source_run: Mapped[UUID | None]
    handled_at: Mapped[datetime | None]

    __table_args__ = (
        Index("idx_events_organization", "organization_id", "id"),
        Index(
            "uq_events_key",
            "organization_id",
            "key",
            unique=True,
            postgresql_where=text("key IS NOT NULL"),
            info={"taken": "This event has been told already."},
        ),
        Index("idx_events_unhandled", "id", postgresql_where=text("handled_at IS NULL")),
    )
