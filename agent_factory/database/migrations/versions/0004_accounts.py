"""Accounts: addresses, passwords and second factors."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# seen by authentication alone: no policy shows requests a row, and no grant lets them ask
TABLES = ("accounts", "account_recovery_codes", "account_tokens", "account_devices", "failed_logins", "mail_outbox")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    tables()
    memberships()
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY system ON {table} TO af_system USING (true)")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO af_system")
    op.execute("CREATE POLICY post ON mail_outbox FOR INSERT TO af_app WITH CHECK (true)")
    op.execute("GRANT INSERT ON mail_outbox TO af_app")


def tables() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("name", sa.String(length=255), server_default="", nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("password_changed_at", moment, nullable=True),
        sa.Column("verified_at", moment, nullable=True),
        sa.Column("disabled_at", moment, nullable=True),
        sa.Column("otp_seed", sa.LargeBinary(), nullable=True),
        sa.Column("otp_confirmed_at", moment, nullable=True),
        sa.Column("otp_step", sa.BigInteger(), nullable=True),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    op.create_index("uq_accounts_email", "accounts", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "account_recovery_codes",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        of_account("account_recovery_codes"),
        sa.PrimaryKeyConstraint("account_id", "hash", name=op.f("pk_account_recovery_codes")),
    )
    op.create_table(
        "account_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        of_account("account_tokens"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_account_tokens_hash")),
    )
    op.create_index("idx_account_tokens_account", "account_tokens", ["account_id"])
    op.create_index("idx_account_tokens_expires_at", "account_tokens", ["expires_at"])
    op.create_table(
        "account_devices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("last_used_at", moment, nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        of_account("account_devices"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_devices")),
        sa.UniqueConstraint("hash", name=op.f("uq_account_devices_hash")),
    )
    op.create_index("idx_account_devices_account", "account_devices", ["account_id", "last_used_at"])
    op.create_table(
        "failed_logins",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_failed_logins")),
    )
    op.create_index("idx_failed_logins_since", "failed_logins", ["since"])
    op.create_table(
        "mail_outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("letter", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_outbox")),
    )
    op.create_index("idx_mail_outbox_due_at", "mail_outbox", ["due_at"])


def of_account(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_account_id")
    return sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=name, ondelete="CASCADE")


def memberships() -> None:
    """A user becomes the membership of an account; those who are there get one, without a password."""
    op.add_column("users", sa.Column("account_id", sa.Uuid(), nullable=True))
    op.add_column("users", sa.Column("status", sa.String(length=20), server_default="active", nullable=False))
    # the owner of the tables is held back by their wall too
    op.execute("ALTER TABLE users NO FORCE ROW LEVEL SECURITY")
    op.execute("""
        INSERT INTO accounts (id, email, name, verified_at, created_at)
        SELECT id, left(email, 254), name, created_at, created_at FROM users
    """)
    op.execute("UPDATE users SET account_id = id")
    op.execute("ALTER TABLE users FORCE ROW LEVEL SECURITY")
    op.create_check_constraint(op.f("ck_users_status"), "users", "status IN ('active', 'disabled')")
    op.create_foreign_key(op.f("fk_users_account_id"), "users", "accounts", ["account_id"], ["id"])
    op.create_index("idx_users_account", "users", ["account_id"])
    op.drop_index("uq_users_email", "users")
    op.create_index(
        "uq_users_organization_email", "users", ["organization_id", sa.literal_column("lower(email)")], unique=True
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("uq_users_organization_email", "users")
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.drop_column("users", "status")
    op.drop_column("users", "account_id")
    for table in reversed(TABLES):
        op.drop_table(table)
