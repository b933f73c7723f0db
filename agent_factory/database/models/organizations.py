"""Organisations, and who may do what in them: teams, roles, grants, invitations (S47 to S54, S142, S210)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Owned, Updated


class OrganizationRow(Identified, Created, Base):
    """An organisation; it sees itself and no other.

    One that is suspended by nobody in it (`suspended_by` is null) was suspended
    by the operator. After `deleted_at` there is some grace to take it back,
    until its purge begins.
    """

    __tablename__ = "organizations"

    name: Mapped[str] = mapped_column(String(255))
    domain: Mapped[str | None] = mapped_column(String(255))
    plan: Mapped[str] = mapped_column(String(50), default="starter", server_default="starter")
    suspended_at: Mapped[datetime | None]
    suspended_by: Mapped[UUID | None]
    deleted_at: Mapped[datetime | None]
    purge_began_at: Mapped[datetime | None]

    @property
    def status(self) -> str:
        """Where it is in its life: `active`, `suspended` or `deleted`."""
        if self.deleted_at is not None:
            return "deleted"
        return "active" if self.suspended_at is None else "suspended"


class RoleRow(Identified, Owned, Updated, Base):
    """A role that an organisation made for itself; people and teams name it by its name."""

    __tablename__ = "roles"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), sort_order=-1)
    name: Mapped[str] = mapped_column(String(50))
    description: Mapped[str] = mapped_column(default="", server_default="")
    rights: Mapped[list[str]]

    __table_args__ = (
        UniqueConstraint("organization_id", "name", info={"taken": "A role with this name exists; choose another."}),
    )


class TeamRow(Identified, Owned, Updated, Base):
    """Some people of an organisation."""

    __tablename__ = "teams"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), sort_order=-1)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="", server_default="")

    __table_args__ = (
        UniqueConstraint("organization_id", "id"),
        UniqueConstraint("organization_id", "name", info={"taken": "A team with this name exists; choose another."}),
    )


class TeamMemberRow(Owned, Created, Base):
    """A person in a team; with a `role`, it gives its rights beside those of the person's own role."""

    __tablename__ = "team_members"

    team_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    role: Mapped[str | None] = mapped_column(String(50))

    __table_args__ = (
        ForeignKeyConstraint(["organization_id", "team_id"], ["teams.organization_id", "teams.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["organization_id", "user_id"], ["users.organization_id", "users.id"], ondelete="CASCADE"),
        Index("idx_team_members_user", "organization_id", "user_id"),
    )


class GrantRow(Identified, Owned, Created, Base):
    """Rights of one person or one team to one agent or one workflow."""

    __tablename__ = "grants"

    user_id: Mapped[UUID | None]
    team_id: Mapped[UUID | None]
    agent_id: Mapped[UUID | None]
    workflow_id: Mapped[UUID | None]
    rights: Mapped[list[str]]
    created_by: Mapped[UUID | None]

    __table_args__ = (
        CheckConstraint("num_nonnulls(user_id, team_id) = 1", name="receiver"),
        CheckConstraint("num_nonnulls(agent_id, workflow_id) = 1", name="resource"),
        ForeignKeyConstraint(["organization_id", "user_id"], ["users.organization_id", "users.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["organization_id", "team_id"], ["teams.organization_id", "teams.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["organization_id", "workflow_id"], ["workflows.organization_id", "workflows.id"], ondelete="CASCADE"
        ),
        Index(
            "uq_grants_receiver_resource",
            "organization_id",
            "user_id",
            "team_id",
            "agent_id",
            "workflow_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
            info={"taken": "There is a grant of this to them already; change or delete that one."},
        ),
        Index("idx_grants_team", "organization_id", "team_id", postgresql_where=text("team_id IS NOT NULL")),
    )


class InvitationRow(Identified, Owned, Created, Base):
    """A place in an organisation, kept for whoever has the token; of the token only its SHA-256 is kept."""

    __tablename__ = "invitations"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), sort_order=-1)
    email: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(50))
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    invited_by: Mapped[UUID]
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        Index("idx_invitations_organization", "organization_id", "id"),
        Index(
            "uq_invitations_open",
            "organization_id",
            func.lower(email),
            unique=True,
            postgresql_where=text("accepted_at IS NULL AND revoked_at IS NULL"),
            info={"taken": "This address is invited already; send that invitation again, or revoke it."},
        ),
    )
