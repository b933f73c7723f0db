"""Which key made a key or a trigger, so that its budgets hold for both."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("api_keys", sa.Column("made_with", sa.Uuid(), nullable=True))
    op.add_column("triggers", sa.Column("key_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("triggers", "key_id")
    op.drop_column("api_keys", "made_with")
