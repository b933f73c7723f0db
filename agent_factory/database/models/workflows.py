"""Workflows and their immutable versions (S83)."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Owned, Updated


class WorkflowRow(Identified, Owned, Updated, Base):
    """A workflow: the head that points at its versions.

    `status` means what an agent's does; `revision` grows with every change and
    is what an ETag shows.
    """

    __tablename__ = "workflows"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), sort_order=-1)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="", server_default="")
    status: Mapped[str] = mapped_column(String(20), default="draft", server_default="draft")
    latest_version: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    deployed_version: Mapped[int | None]
    revision: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    created_by: Mapped[UUID | None]

    __table_args__ = (
        CheckConstraint("status IN ('draft', 'active', 'deployed', 'paused', 'archived')", name="status"),
        UniqueConstraint("organization_id", "id"),
        Index(
            "uq_workflows_name",
            "organization_id",
            "name",
            unique=True,
            postgresql_where=text("status <> 'archived'"),
            info={"taken": "A workflow with this name exists; choose another name or archive that workflow."},
        ),
    )


class WorkflowVersionRow(Identified, Owned, Created, Base):
    """One definition of a workflow; a trigger refuses to change it."""

    __tablename__ = "workflow_versions"

    workflow_id: Mapped[UUID]
    number: Mapped[int]
    definition: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[UUID | None]

    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "workflow_id"], ["workflows.organization_id", "workflows.id"], ondelete="CASCADE"
        ),
        UniqueConstraint(
            "workflow_id", "number", info={"taken": "Someone else has just made this version; read the workflow again."}
        ),
        Index("idx_workflow_versions_workflow", "organization_id", "workflow_id"),
    )
