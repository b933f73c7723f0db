"""Counters of the rate limiter, and what origins an organisation allows."""

import sqlalchemy as sa
from alembic import op

from agent_factory.database.migrations import walls

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Unlogged: a counter is whole again within its period, and each process reminds PostgreSQL of what it knows of
    # counters that a crash has emptied; in return a question writes no WAL and waits for no disk.
    op.create_table(
        "rate_counters",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("whole_at", sa.Double(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("need", sa.Integer(), nullable=False),
        sa.Column("extra", sa.Integer(), nullable=False),
        sa.Column("tick", sa.Double(), nullable=False),
        sa.Column("span", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_counters")),
        prefixes=["UNLOGGED"],
    )
    # Rows change all the time: room in each page lets them change in place.
    op.execute(
        "ALTER TABLE rate_counters SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, "
        "autovacuum_vacuum_threshold = 5000)"
    )
    op.execute("ALTER TABLE rate_counters ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE rate_counters FORCE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY system ON rate_counters TO af_system USING (true)")
    op.execute(f"GRANT {walls.ALL} ON rate_counters TO af_system")
    # The start of the statement, so that one moment counts for all of it.
    op.execute(
        "CREATE FUNCTION rate_now() RETURNS double precision LANGUAGE sql STABLE PARALLEL SAFE "
        "RETURN date_part('epoch', statement_timestamp())"
    )
    op.execute(
        """
        CREATE FUNCTION rate_units(lead double precision, need int, extra int, tick double precision,
                                   span double precision)
        RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN (least(need, floor((span - lead) / tick + 0.001))
                + least(extra, greatest(0, floor((span - lead) / tick + 0.001) - need - floor(span / tick / 2))))::int
        """
    )

    op.create_table(
        "organization_origins",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("origin", sa.String(length=300), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name=op.f("fk_organization_origins_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organization_id", "origin", name=op.f("pk_organization_origins")),
    )
    op.create_index("idx_organization_origins_origin", "organization_origins", ["origin"])
    walls.wall("organization_origins", walls.APPENDED, "SELECT")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("organization_origins")
    op.drop_table("rate_counters")
    op.execute("DROP FUNCTION rate_units(double precision, int, int, double precision, double precision)")
    op.execute("DROP FUNCTION rate_now()")
