"""Users and their API keys (S143)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Owned


class UserRow(Identified, Owned, Created, Base):
    """A membership: an account in one organisation; the address is unique in it in any spelling."""

    __tablename__ = "users"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), sort_order=-1)
    email: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(255), default="", server_default="")
    role: Mapped[str] = mapped_column(String(50), default="developer", server_default="developer")
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    status: Mapped[str] = mapped_column(String(20), default="active", server_default="active")

    __table_args__ = (
        # the target of foreign keys that cannot point into another organisation
        UniqueConstraint("organization_id", "id"),
        Index(
            "uq_users_organization_email",
            "organization_id",
            func.lower(email),
            unique=True,
            info={"taken": "This e-mail address is in use."},
        ),
        Index("idx_users_org_role", "organization_id", "role"),
        Index("idx_users_account", "account_id"),
        CheckConstraint("status IN ('active', 'disabled')", name="status"),
    )


class ApiKeyRow(Identified, Owned, Created, Base):
    """A key, kept as its public prefix and the SHA-256 of the whole."""

    __tablename__ = "api_keys"

    user_id: Mapped[UUID]
    name: Mapped[str] = mapped_column(String(255))
    prefix: Mapped[str] = mapped_column(String(64), unique=True)
    hash: Mapped[bytes]
    scopes: Mapped[list[str]]
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        ForeignKeyConstraint(["organization_id", "user_id"], ["users.organization_id", "users.id"]),
        Index("idx_api_keys_organization", "organization_id", "id"),
    )
