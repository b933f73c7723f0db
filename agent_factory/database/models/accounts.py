"""Accounts: how people prove who they are, whichever organisations they belong to (S31, S40).

None of these tables belongs to an organisation, and requests reach none of them: authentication alone does.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, String, func
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Sealed


class AccountRow(Identified, Created, Base):
    """A person's address, password and second factor; the address is unique in any spelling.

    Without a hash nobody can log in by a password. `otp_step` is the last time
    step whose code was used, so that no code is used twice.
    """

    __tablename__ = "accounts"

    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(255), default="", server_default="")
    password_hash: Mapped[str | None]
    password_changed_at: Mapped[datetime | None]
    verified_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    otp_seed: Mapped[Sealed | None]
    otp_confirmed_at: Mapped[datetime | None]
    otp_step: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        Index("uq_accounts_email", func.lower(email), unique=True, info={"taken": "This e-mail address is in use."}),
    )


class RecoveryCodeRow(Base):
    """A code that stands in for the second factor, once."""

    __tablename__ = "account_recovery_codes"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    hash: Mapped[bytes] = mapped_column(primary_key=True)


class MailedTokenRow(Identified, Created, Base):
    """What a mail asks its reader to show again: once, within its time, for one purpose.

    One without an account was made for an address that nobody has, and does nothing.
    """

    __tablename__ = "account_tokens"

    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    purpose: Mapped[str] = mapped_column(String(20))
    hash: Mapped[bytes] = mapped_column(unique=True)
    expires_at: Mapped[datetime]

    __table_args__ = (
        Index("idx_account_tokens_account", "account_id"),
        Index("idx_account_tokens_expires_at", "expires_at"),
    )


class DeviceRow(Identified, Created, Base):
    """A device that somebody has logged in from before."""

    __tablename__ = "account_devices"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    hash: Mapped[bytes] = mapped_column(unique=True)
    last_used_at: Mapped[datetime]

    __table_args__ = (Index("idx_account_devices_account", "account_id", "last_used_at"),)


class FailedLoginsRow(Base):
    """How often something was tried in vain since a moment; `key` is a hash of what was tried."""

    __tablename__ = "failed_logins"

    key: Mapped[bytes] = mapped_column(primary_key=True)
    failures: Mapped[int]
    since: Mapped[datetime]

    __table_args__ = (Index("idx_failed_logins_since", "since"),)
