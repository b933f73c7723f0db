"""Agents, their immutable versions, and templates to start from (S144, S147)."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified
from agent_factory.database.models.definitions import Head, Version, head_constraints


class AgentRow(Head):
    """An agent; `former_names` are those of older versions, under which its budgets find it, too."""

    __tablename__ = "agents"

    former_names: Mapped[list[str]] = mapped_column(default=list, server_default=text("'{}'"))

    __table_args__ = (
        *head_constraints("agents", taken="An agent with this name exists; choose another name or archive that agent."),
        # the specification's own index (S155): the agents that run
        Index(
            "idx_agents_organization_status",
            "organization_id",
            "status",
            postgresql_where=text("status IN ('active', 'deployed')"),
        ),
    )

    def rename(self, name: str) -> None:
        """Take another name, and keep the one before in mind."""
        if name != self.name:
            self.former_names = sorted({*self.former_names, self.name})
        super().rename(name)


class AgentVersionRow(Version):
    """One definition of an agent."""

    __tablename__ = "agent_versions"

    head_id: Mapped[UUID] = mapped_column("agent_id")

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
