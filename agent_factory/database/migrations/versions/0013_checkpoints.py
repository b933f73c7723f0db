"""Signatures that also cover each event's place in the chain of its organisation, and that are found by an event."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "audit_checkpoints", sa.Column("version", sa.SmallInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.create_index("idx_audit_checkpoints_last", "audit_checkpoints", ["last"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("idx_audit_checkpoints_last", "audit_checkpoints")
    op.drop_column("audit_checkpoints", "version")
