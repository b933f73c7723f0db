"""Workflows and their immutable versions (S83)."""

from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.models.definitions import Head, Version, head_constraints


class WorkflowRow(Head):
    """A workflow."""

    __tablename__ = "workflows"

    __table_args__ = head_constraints(
        "workflows", taken="A workflow with this name exists; choose another name or archive that workflow."
    )


class WorkflowVersionRow(Version):
    """One definition of a workflow."""

    __tablename__ = "workflow_versions"

    head_id: Mapped[UUID] = mapped_column("workflow_id")

    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "workflow_id"], ["workflows.organization_id", "workflows.id"], ondelete="CASCADE"
        ),
        UniqueConstraint(
            "workflow_id", "number", info={"taken": "Someone else has just made this version; read the workflow again."}
        ),
        Index("idx_workflow_versions_workflow", "organization_id", "workflow_id"),
    )
