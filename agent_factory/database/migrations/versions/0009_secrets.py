"""Organisations' keys and their secrets."""

import sqlalchemy as sa
from alembic import op

from agent_factory.database.migrations.walls import ALL, wall

# what an organisation had sealed can be read nowhere any more, not in copies of single tables either
FORGET = """
CREATE FUNCTION forget_data_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM data_keys WHERE organization_id = OLD.id;
    RETURN NULL;
END $$
"""

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "data_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=True),
        sa.Column("kek", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_data_keys"),
    )
    op.create_index(
        "uq_data_keys_active",
        "data_keys",
        ["organization_id"],
        unique=True,
        postgresql_where=sa.text("retired_at IS NULL"),
        postgresql_nulls_not_distinct=True,
    )
    op.create_index("idx_data_keys_organization", "data_keys", ["organization_id", "id"])
    # requests have no right to this table at all, and no policy lets them see a row
    op.execute("ALTER TABLE data_keys ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE data_keys FORCE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY system ON data_keys TO af_system USING (true)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON data_keys TO af_system")
    op.execute(FORGET)
    op.execute(
        "CREATE TRIGGER forget_data_keys AFTER DELETE ON organizations"
        " FOR EACH ROW EXECUTE FUNCTION forget_data_keys()"
    )
    op.create_table(
        "secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("description", sa.String(1000), nullable=False),
        sa.Column("hosts", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name="fk_secrets_organization_id_organizations",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_secrets"),
        sa.UniqueConstraint("organization_id", "name", name="uq_secrets_organization_id_name"),
    )
    op.create_index("idx_secrets_organization", "secrets", ["organization_id", "id"])
    wall("secrets", ALL, "SELECT, UPDATE")
    op.add_column("triggers", sa.Column("sealed_secret", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("triggers", "sealed_secret")
    op.drop_table("secrets")
    op.execute("DROP TRIGGER forget_data_keys ON organizations")
    op.execute("DROP FUNCTION forget_data_keys")
    op.drop_table("data_keys")
