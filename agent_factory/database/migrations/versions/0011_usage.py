"""Usage that stays told when the steps that told it go, and the former names of agents for their budgets."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Steps go when a session is deleted, when a response is forgotten, and when a run begins again where it failed. What they
# used was used: as far as it is not in the usage by day yet, it is added there. Who adds up waits, or is waited for.
KEEP = """
CREATE FUNCTION keep_usage() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    mark timestamptz;
BEGIN
    SELECT until INTO mark FROM usage_mark FOR SHARE;
    INSERT INTO usage_days (organization_id, day, agent_id, key_id, model, calls, input_tokens, output_tokens, cost_usd)
    SELECT s.organization_id, (s.created_at AT TIME ZONE 'UTC')::date,
        coalesce(r.agent_id, '00000000-0000-0000-0000-000000000000'),
        coalesce(r.key_id, '00000000-0000-0000-0000-000000000000'), s.name, count(*),
        sum(s.input_tokens), sum(s.output_tokens), sum(s.cost_usd)
    FROM gone s LEFT JOIN runs r ON r.id = s.run_id
    WHERE s.created_at >= mark AND s.kind IN ('model', 'summary') AND s.input_tokens + s.output_tokens > 0
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (organization_id, day, agent_id, key_id, model) DO UPDATE SET
        calls = usage_days.calls + excluded.calls,
        input_tokens = usage_days.input_tokens + excluded.input_tokens,
        output_tokens = usage_days.output_tokens + excluded.output_tokens,
        cost_usd = CASE WHEN usage_days.cost_usd IS NULL AND excluded.cost_usd IS NULL THEN NULL
            ELSE coalesce(usage_days.cost_usd, 0) + coalesce(excluded.cost_usd, 0) END;
    RETURN NULL;
END $$
"""

FORMER_NAMES = """
UPDATE agents a SET former_names = array(
    SELECT DISTINCT v.definition ->> 'name' FROM agent_versions v
    WHERE v.agent_id = a.id AND v.definition ->> 'name' <> a.name
)
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(KEEP)
    op.execute(
        "CREATE TRIGGER keep_usage AFTER DELETE ON run_steps REFERENCING OLD TABLE AS gone"
        " FOR EACH STATEMENT EXECUTE FUNCTION keep_usage()"
    )
    op.execute("GRANT INSERT, UPDATE ON usage_days TO af_app")
    op.execute("GRANT UPDATE (id) ON usage_mark TO af_app")  # locking the row takes the right to change some of it
    op.add_column(
        "agents", sa.Column("former_names", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )
    for table in ("agents", "agent_versions"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")  # else their owner sees none of the rows
    op.execute(FORMER_NAMES)
    for table in ("agents", "agent_versions"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("agents", "former_names")
    op.execute("REVOKE UPDATE (id) ON usage_mark FROM af_app")
    op.execute("REVOKE INSERT, UPDATE ON usage_days FROM af_app")
    op.execute("DROP TRIGGER keep_usage ON run_steps")
    op.execute("DROP FUNCTION keep_usage()")
