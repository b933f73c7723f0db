"""Users and their API keys, where people are logged in, and what signs their tokens (S29, S30, S143)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Owned, Sealed


class UserRow(Identified, Owned, Created, Base):
    """A membership: an account in one organisation; the address is unique in it in any spelling.

    A service has no account, and no rights but those of its keys. `status` is
    the organisation's word; `account_disabled_at` repeats the account's own
    `disabled_at`, for requests of an organisation do not reach accounts.
    """

    __tablename__ = "users"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), sort_order=-1)
    email: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(255), default="", server_default="")
    role: Mapped[str] = mapped_column(String(50), default="developer", server_default="developer")
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    status: Mapped[str] = mapped_column(String(20), default="active", server_default="active")
    kind: Mapped[str] = mapped_column(String(20), default="person", server_default="person")
    account_disabled_at: Mapped[datetime | None]

    @property
    def account_disabled(self) -> bool:
        """Whether the operator keeps the person out, here and elsewhere."""
        return self.account_disabled_at is not None

    @property
    def active(self) -> bool:
        """Whether neither the organisation nor the operator keeps the person out."""
        return self.status == "active" and not self.account_disabled

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
        CheckConstraint("kind IN ('person', 'service')", name="kind"),
    )


class ApiKeyRow(Identified, Owned, Created, Base):
    """A key, kept as its public prefix and the SHA-256 of the whole; a service's key belongs to no person.

    `made_with` is the key that its maker used: what limits that one limits both.
    """

    __tablename__ = "api_keys"

    user_id: Mapped[UUID]
    name: Mapped[str] = mapped_column(String(255))
    prefix: Mapped[str] = mapped_column(String(64), unique=True)
    hash: Mapped[bytes]
    kind: Mapped[str] = mapped_column(String(20), default="personal", server_default="personal")
    created_by: Mapped[UUID | None]
    made_with: Mapped[UUID | None]
    scopes: Mapped[list[str]]
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        ForeignKeyConstraint(["organization_id", "user_id"], ["users.organization_id", "users.id"]),
        Index("idx_api_keys_organization", "organization_id", "id"),
        Index("idx_api_keys_user", "organization_id", "user_id", "id"),
        CheckConstraint("kind IN ('personal', 'service')", name="kind"),
    )


class LoginRow(Identified, Created, Base):
    """Where a person is logged in: a family of refresh tokens, of which only the newest is good.

    It belongs to the account; the organisation is the one that it acts in now.
    Whoever shows the secret of `family_hash` has had a token of the family.
    """

    __tablename__ = "logins"

    account_id: Mapped[UUID]
    organization_id: Mapped[UUID]
    user_id: Mapped[UUID]
    family_hash: Mapped[bytes]
    token_hash: Mapped[bytes]
    device: Mapped[str] = mapped_column(String(300), default="", server_default="")
    address: Mapped[str] = mapped_column(String(64), default="", server_default="")
    refreshed_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None] = mapped_column(String(20))

    __table_args__ = (Index("idx_logins_account", "account_id", "id"),)


class SigningKeyRow(Created, Base):
    """A key that signs access tokens, of the whole installation; `private` is gone once it signs no more."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    public: Mapped[dict[str, Any]]
    private: Mapped[Sealed | None]
    signs_from: Mapped[datetime]
