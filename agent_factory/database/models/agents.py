"""Agents, their immutable versions, and templates to start from (S144, S147)."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Owned, Updated


class AgentRow(Identified, Owned, Updated, Base):
    """An agent: the head that points at its versions.

    `status` holds a value of `core.agent.AgentStatus`; `revision` grows with
    every change and is what an ETag shows. `former_names` are those of older
    versions, under which its budgets find it, too.
    """

    __tablename__ = "agents"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), sort_order=-1)
    name: Mapped[str] = mapped_column(String(255))
    former_names: Mapped[list[str]] = mapped_column(default=list, server_default=text("'{}'"))
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
            "uq_agents_name",
            "organization_id",
            "name",
            unique=True,
            postgresql_where=text("status <> 'archived'"),
            info={"taken": "An agent with this name exists; choose another name or archive that agent."},
        ),
        # the specification's own index (S155): the agents that run
        Index(
            "idx_agents_organization_status",
            "organization_id",
            "status",
            postgresql_where=text("status IN ('active', 'deployed')"),
        ),
    )


class AgentVersionRow(Identified, Owned, Created, Base):
    """One definition of an agent; a trigger refuses to change it."""

    __tablename__ = "agent_versions"

    agent_id: Mapped[UUID]
    number: Mapped[int]
    definition: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[UUID | None]

    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
        UniqueConstraint(
            "agent_id", "number", info={"taken": "Someone else has just made this version; read the agent again."}
        ),
        Index("idx_agent_versions_agent", "organization_id", "agent_id"),
    )


class AgentTemplateRow(Identified, Created, Base):
    """A definition to start from; without an organisation it is built in and visible to all."""

    __tablename__ = "agent_templates"

    organization_id: Mapped[UUID | None] = mapped_column(ForeignKey("organizations.id"), sort_order=-1)
    name: Mapped[str] = mapped_column(String(255))
    category: Mapped[str | None] = mapped_column(String(100))
    description: Mapped[str] = mapped_column(default="", server_default="")
    configuration: Mapped[dict[str, Any]]
    is_public: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    created_by: Mapped[UUID | None]

    __table_args__ = (Index("idx_agent_templates_organization", "organization_id", "id"),)
