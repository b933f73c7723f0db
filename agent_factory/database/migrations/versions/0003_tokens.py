"""Signing keys of tokens, and the sessions of people that refresh them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from agent_factory.database.migrations.walls import ALL

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# seen by authentication alone: no policy shows requests a row, and no grant lets them ask
TABLES = ("logins", "signing_keys")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    tables()
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY system ON {table} TO af_system USING (true)")
        op.execute(f"GRANT {ALL} ON {table} TO af_system")
    kinds()


def tables() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "logins",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("family_hash", sa.LargeBinary(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("device", sa.String(length=300), server_default="", nullable=False),
        sa.Column("address", sa.String(length=64), server_default="", nullable=False),
        sa.Column("refreshed_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.Column("end_reason", sa.String(length=20), nullable=True),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logins")),
    )
    op.create_index("idx_logins_account", "logins", ["account_id", "id"])
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("public", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("private", sa.LargeBinary(), nullable=True),
        sa.Column("signs_from", moment, nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
        sa.UniqueConstraint("number", name=op.f("uq_signing_keys_number")),
    )


def kinds() -> None:
    """Users are people or services, and keys are theirs."""
    op.add_column("users", sa.Column("kind", sa.String(length=20), server_default="person", nullable=False))
    op.create_check_constraint(op.f("ck_users_kind"), "users", "kind IN ('person', 'service')")
    op.add_column("api_keys", sa.Column("kind", sa.String(length=20), server_default="personal", nullable=False))
    op.add_column("api_keys", sa.Column("created_by", sa.Uuid(), nullable=True))
    op.create_check_constraint(op.f("ck_api_keys_kind"), "api_keys", "kind IN ('personal', 'service')")
    op.create_index("idx_api_keys_user", "api_keys", ["organization_id", "user_id", "id"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("idx_api_keys_user", "api_keys")
    op.drop_column("api_keys", "created_by")
    op.drop_column("api_keys", "kind")
    op.drop_column("users", "kind")
    for table in reversed(TABLES):
        op.drop_table(table)
