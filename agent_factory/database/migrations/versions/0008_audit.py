"""The audit trail, its seals and its checkpoints: written once, never changed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from agent_factory.database.migrations.walls import wall

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# table: what may not be changed; a key's secret half is sealed anew when the vault's keys rotate
APPENDED_ONLY = {
    "audit_events": "UPDATE",
    "audit_seals": "UPDATE",
    "audit_checkpoints": "UPDATE",
    "audit_keys": "UPDATE OF id, purpose, public_key, created_at",
}
SYSTEM_ONLY = {
    "audit_keys": "SELECT, INSERT, UPDATE (secret_key)",
    "audit_checkpoints": "SELECT, INSERT",
    "audit_pending": "SELECT, DELETE",
}

# the database's own clock says when, so that nobody who may insert can date an event back
STAMP = """
CREATE FUNCTION stamp_audit_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.occurred_at := clock_timestamp();
    RETURN NEW;
END $$
"""
# with the rights of the tables' owner, for who records an event has none to the list of those without a seal
ENLIST = """
CREATE FUNCTION enlist_audit_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_pending (event_id) VALUES (NEW.id);
    PERFORM pg_notify('audit', '');
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    tables()
    wall("audit_events", "SELECT, INSERT", "SELECT, INSERT")
    wall("audit_seals", "SELECT", "SELECT, INSERT")
    for table, rights in SYSTEM_ONLY.items():
        op.execute(f"GRANT {rights} ON {table} TO af_system")
    for table in ("audit_keys", "audit_checkpoints"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY system ON {table} TO af_system USING (true)")
    for table, change in APPENDED_ONLY.items():
        op.execute(
            f"CREATE TRIGGER immutable BEFORE DELETE OR {change} ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER kept BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.execute(STAMP)
    op.execute(ENLIST)
    op.execute(
        "CREATE TRIGGER stamp BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION stamp_audit_event()"
    )
    op.execute(
        "CREATE TRIGGER enlist AFTER INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION enlist_audit_event()"
    )


def tables() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("role", sa.String(length=50), nullable=True),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("resource", sa.String(length=200), nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("user_agent", sa.String(length=300), nullable=True),
        sa.Column(
            "details",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "outcome IN ('succeeded', 'refused', 'failed', 'observed')", name=op.f("ck_audit_events_outcome")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    op.create_index("idx_audit_events_organization", "audit_events", ["organization_id", "id"])
    op.create_index("idx_audit_events_user", "audit_events", ["organization_id", "user_id", "id"])
    op.create_index("idx_audit_events_resource", "audit_events", ["organization_id", "resource", "id"])
    op.create_index("idx_audit_events_action", "audit_events", ["action", "occurred_at"])
    op.create_table(
        "audit_pending",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_audit_pending")),
    )
    op.create_table(
        "audit_seals",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("own_previous", sa.LargeBinary(), nullable=False),
        sa.Column("own_hash", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_seals")),
        sa.UniqueConstraint("event_id", name=op.f("uq_audit_seals_event_id")),
    )
    op.create_index(
        "uq_audit_seals_position",
        "audit_seals",
        ["organization_id", "position"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "audit_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("secret_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_keys")),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("leaves", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_checkpoints")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in (*APPENDED_ONLY, "audit_pending"):
        op.drop_table(table)
    op.execute("DROP FUNCTION stamp_audit_event()")
    op.execute("DROP FUNCTION enlist_audit_event()")
