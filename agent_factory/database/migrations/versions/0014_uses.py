"""When limits were last used: what survives a crash, which empties the counters."""

import sqlalchemy as sa
from alembic import op

from agent_factory.database.migrations import walls

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "rate_uses",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rate_uses")),
    )
    op.execute("ALTER TABLE rate_uses ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE rate_uses FORCE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY system ON rate_uses TO af_system USING (true)")
    op.execute(f"GRANT {walls.ALL} ON rate_uses TO af_system")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("rate_uses")
