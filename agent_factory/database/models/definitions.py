"""What every kind of named, versioned definitions shares: heads, and versions that never change."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Owned, Updated


class Head(Identified, Owned, Updated, Base):
    """The head of a definition, which points at its versions.

    `status` holds a value of `core.agent.AgentStatus`; `revision` grows with
    every change and is what an ETag shows.
    """

    __abstract__ = True

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), sort_order=-1)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="", server_default="")
    status: Mapped[str] = mapped_column(String(20), default="draft", server_default="draft")
    latest_version: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    deployed_version: Mapped[int | None]
    revision: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    created_by: Mapped[UUID | None]

    def rename(self, name: str) -> None:
        """Take the name of a newer version."""
        self.name = name


class Version(Identified, Owned, Created, Base):
    """One definition; a trigger refuses to change it. Each kind has a column of its own for `head_id`."""

    __abstract__ = True

    head_id: Mapped[UUID]
    number: Mapped[int]
    definition: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[UUID | None]


def head_constraints(table: str, taken: str) -> tuple[CheckConstraint, UniqueConstraint, Index]:
    """Give what holds for every table of heads; `taken` tells of a name that another one has, unless it is archived."""
    return (
        CheckConstraint("status IN ('draft', 'active', 'deployed', 'paused', 'archived')", name="status"),
        UniqueConstraint("organization_id", "id"),
        Index(
            f"uq_{table}_name",
            "organization_id",
            "name",
            unique=True,
            postgresql_where=text("status <> 'archived'"),
            info={"taken": taken},
        ),
    )
