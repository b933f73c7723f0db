"""Quotas, budgets, what is held of them, and usage by day."""

import sqlalchemy as sa
from alembic import op

from agent_factory.database.migrations.walls import ALL, wall

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


# table: what requests may do, what the engine may do with all rows
TENANT_TABLES = {
    "budgets": (ALL, "SELECT"),
    "quotas": ("SELECT", ALL),
    "meters": ("SELECT, INSERT, DELETE", ALL),
    "reservations": ("SELECT", ALL),
    "usage_days": ("SELECT", ALL),
}

# When a period began that a moment lies in; what has no end began in 1970.
PERIOD = """
CREATE FUNCTION period_start(period text, moment timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN period IN ('day', 'month') THEN date_trunc(period, moment, 'UTC')
        ELSE '1970-01-01 00:00:00+00'::timestamptz END
$$
"""

# Takes what each of some calls may use from every meter that applies to it, or nothing of it at all.
#
# Meters are locked in the order of their keys by whoever takes or gives, reservations before meters, and meters before
# usage: so nobody waits for somebody who waits for him. A call that is asked for again is granted once.
TAKE = """
CREATE FUNCTION take_reservations(ops jsonb)
RETURNS TABLE (id uuid, granted boolean, full_key text, rooms jsonb) LANGUAGE plpgsql AS $$
DECLARE
    op jsonb;
    meter record;
BEGIN
    FOR meter IN
        SELECT DISTINCT (o ->> 'organization_id')::uuid AS organization_id, t ->> 'key' AS key,
            period_start(t ->> 'period', now()) AS since, (t ->> 'run_id')::uuid AS run_id
        FROM jsonb_array_elements(ops) o, jsonb_array_elements(o -> 'takes') t
        ORDER BY 1, 2, 3
    LOOP
        PERFORM FROM meters m WHERE m.organization_id = meter.organization_id AND m.key = meter.key
            AND m.since = meter.since FOR UPDATE;
        IF NOT FOUND THEN
            INSERT INTO meters (organization_id, key, since, run_id)
            VALUES (meter.organization_id, meter.key, meter.since, meter.run_id) ON CONFLICT DO NOTHING;
            PERFORM FROM meters m WHERE m.organization_id = meter.organization_id AND m.key = meter.key
                AND m.since = meter.since FOR UPDATE;
        END IF;
    END LOOP;
    FOR op IN SELECT value FROM jsonb_array_elements(ops) LOOP
        id := (op ->> 'id')::uuid;
        rooms := NULL;
        full_key := NULL;
        IF EXISTS (SELECT FROM reservations r WHERE r.id = (op ->> 'id')::uuid) THEN
            granted := true;
            RETURN NEXT;
            CONTINUE;
        END IF;
        SELECT min(t.key) FILTER (WHERE m.used + m.held + t.amount > t.most),
            jsonb_object_agg(t.key, greatest(0, t.most - m.used - m.held)::text)
        INTO full_key, rooms
        FROM jsonb_to_recordset(op -> 'takes') AS t(key text, period text, amount numeric, most numeric)
        JOIN meters m ON m.organization_id = (op ->> 'organization_id')::uuid AND m.key = t.key
            AND m.since = period_start(t.period, now());
        granted := full_key IS NULL;
        IF granted THEN
            UPDATE meters m SET held = m.held + t.amount
            FROM jsonb_to_recordset(op -> 'takes') AS t(key text, period text, amount numeric)
            WHERE m.organization_id = (op ->> 'organization_id')::uuid AND m.key = t.key
                AND m.since = period_start(t.period, now());
            INSERT INTO reservations (id, organization_id, holder, run_id, path, agent_id, key_id, model, input_tokens,
                output_tokens, cost_usd, keys, metrics, amounts, sinces)
            SELECT (op ->> 'id')::uuid, (op ->> 'organization_id')::uuid, op ->> 'holder', (op ->> 'run_id')::uuid,
                op ->> 'path', (op ->> 'agent_id')::uuid, (op ->> 'key_id')::uuid, op ->> 'model',
                (op ->> 'input_tokens')::bigint, (op ->> 'output_tokens')::bigint, (op ->> 'cost_usd')::numeric,
                array_agg(t.key), array_agg(t.metric), array_agg(t.amount), array_agg(period_start(t.period, now()))
            FROM jsonb_to_recordset(op -> 'takes') AS t(key text, metric text, period text, amount numeric);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$
"""

# Ends reservations: what was used counts from now on, the rest is free again. Without `used` all of it was used.
# With `told`, no step of a run tells of the call, so that the usage of the day is told of it here.
# What is no longer there was ended before, and is not ended twice.
SETTLE = """
CREATE FUNCTION settle_reservations(ops jsonb) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    ended uuid[];
BEGIN
    -- whoever asks twice for the same end gets it once
    SELECT jsonb_agg(each.o) INTO ops
    FROM (SELECT DISTINCT ON (o ->> 'id') o FROM jsonb_array_elements(ops) o ORDER BY o ->> 'id') each;
    SELECT array_agg(locked.id) INTO ended FROM (
        SELECT r.id FROM reservations r JOIN jsonb_to_recordset(ops) AS o(id uuid) ON o.id = r.id
        ORDER BY r.id FOR UPDATE OF r
    ) locked;
    IF ended IS NULL THEN
        RETURN;
    END IF;
    PERFORM FROM meters m
    WHERE (m.organization_id, m.key, m.since) IN (
        SELECT r.organization_id, k.key, k.since FROM reservations r, unnest(r.keys, r.sinces) AS k(key, since)
        WHERE r.id = ANY (ended))
    ORDER BY m.organization_id, m.key, m.since FOR UPDATE;
    UPDATE meters m SET held = m.held - d.held, used = m.used + d.used
    FROM (
        SELECT r.organization_id, k.key, k.since, sum(k.amount) AS held,
            sum(CASE WHEN o.used IS NULL THEN k.amount ELSE coalesce((o.used ->> k.metric)::numeric, 0) END) AS used
        FROM reservations r JOIN jsonb_to_recordset(ops) AS o(id uuid, used jsonb) ON o.id = r.id,
            unnest(r.keys, r.sinces, r.metrics, r.amounts) AS k(key, since, metric, amount)
        WHERE r.id = ANY (ended)
        GROUP BY 1, 2, 3
    ) d
    WHERE m.organization_id = d.organization_id AND m.key = d.key AND m.since = d.since;
    INSERT INTO usage_days (organization_id, day, agent_id, key_id, model, calls, unconfirmed, input_tokens,
        output_tokens, cost_usd)
    SELECT r.organization_id, (now() AT TIME ZONE 'UTC')::date, coalesce(r.agent_id, nobody.id),
        coalesce(r.key_id, nobody.id), r.model, count(*), count(*) FILTER (WHERE o.used IS NULL),
        sum(CASE WHEN o.used IS NULL THEN r.input_tokens ELSE coalesce(o.input_tokens, 0) END),
        sum(CASE WHEN o.used IS NULL THEN r.output_tokens ELSE coalesce(o.output_tokens, 0) END),
        sum(CASE WHEN o.used IS NULL THEN r.cost_usd ELSE o.cost_usd END)
    FROM reservations r JOIN jsonb_to_recordset(ops) AS o(id uuid, used jsonb, told boolean, input_tokens bigint,
            output_tokens bigint, cost_usd numeric) ON o.id = r.id,
        (VALUES ('00000000-0000-0000-0000-000000000000'::uuid)) AS nobody(id)
    WHERE r.id = ANY (ended) AND o.told AND r.model IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (organization_id, day, agent_id, key_id, model) DO UPDATE SET
        calls = usage_days.calls + excluded.calls, unconfirmed = usage_days.unconfirmed + excluded.unconfirmed,
        input_tokens = usage_days.input_tokens + excluded.input_tokens,
        output_tokens = usage_days.output_tokens + excluded.output_tokens,
        cost_usd = CASE WHEN usage_days.cost_usd IS NULL AND excluded.cost_usd IS NULL THEN NULL
            ELSE coalesce(usage_days.cost_usd, 0) + coalesce(excluded.cost_usd, 0) END;
    DELETE FROM reservations r WHERE r.id = ANY (ended);
    RETURN QUERY SELECT unnest(ended);
END $$
"""

# Ends what processes hold that are gone, or that this one holds no more: by what the run's step has recorded, else
# whole. A step that came after its holder's lease is that of the process that took the run over.
SWEEP = """
CREATE FUNCTION sweep_reservations(me text, lost uuid[], sure boolean, lease double precision) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    dead jsonb;
BEGIN
    SELECT jsonb_agg(jsonb_build_object('id', d.id, 'told', s.path IS NULL, 'used', CASE WHEN s.path IS NOT NULL THEN
        jsonb_build_object('tokens', s.input_tokens + s.output_tokens, 'usd', coalesce(s.cost_usd, 0)) END))
    INTO dead
    FROM (
        SELECT r.id, r.run_id, r.path, r.holder FROM reservations r
        WHERE r.holder = me AND r.id = ANY (lost)
            OR sure AND r.holder <> me AND r.created_at < now() - make_interval(secs => lease) AND NOT EXISTS (
                SELECT FROM processes p WHERE p.id = r.holder AND p.beat_at > now() - make_interval(secs => lease))
        ORDER BY r.id LIMIT 500 FOR UPDATE OF r SKIP LOCKED
    ) d
    LEFT JOIN processes p ON p.id = d.holder
    LEFT JOIN run_steps s ON s.run_id = d.run_id AND s.path = d.path AND s.kind IN ('model', 'summary')
        AND (p.id IS NULL OR s.created_at <= p.beat_at + make_interval(secs => lease));
    IF dead IS NULL THEN
        RETURN 0;
    END IF;
    RETURN (SELECT count(*) FROM settle_reservations(dead));
END $$
"""

# What steps and runs tell of a stretch of time; whose they are is for row-level security to see to.
BETWEEN = """
CREATE FUNCTION usage_between(first timestamptz, until timestamptz) RETURNS TABLE (organization_id uuid, day date,
    agent_id uuid, key_id uuid, model text, runs bigint, calls bigint, unconfirmed bigint, input_tokens bigint,
    output_tokens bigint, cost_usd numeric)
LANGUAGE sql STABLE AS $$
    SELECT s.organization_id, (s.created_at AT TIME ZONE 'UTC')::date,
        coalesce(r.agent_id, '00000000-0000-0000-0000-000000000000'),
        coalesce(r.key_id, '00000000-0000-0000-0000-000000000000'), s.name, 0::bigint,
        count(*), 0::bigint, sum(s.input_tokens)::bigint, sum(s.output_tokens)::bigint, sum(s.cost_usd)
    FROM run_steps s JOIN runs r ON r.id = s.run_id
    WHERE s.created_at >= first AND s.created_at < until AND s.kind IN ('model', 'summary')
        AND s.input_tokens + s.output_tokens > 0
    GROUP BY 1, 2, 3, 4, 5
    UNION ALL
    SELECT r.organization_id, (r.created_at AT TIME ZONE 'UTC')::date,
        coalesce(r.agent_id, '00000000-0000-0000-0000-000000000000'),
        coalesce(r.key_id, '00000000-0000-0000-0000-000000000000'), '', count(*), 0, 0, 0, 0, NULL
    FROM runs r WHERE r.created_at >= first AND r.created_at < until
    GROUP BY 1, 2, 3, 4
$$
"""

# Adds what is old enough to be committed to the usage by day; one process at a time, each stretch once.
ROLL = """
CREATE FUNCTION roll_usage(lag interval) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    mark timestamptz;
    bound timestamptz;
BEGIN
    SELECT until INTO mark FROM usage_mark FOR UPDATE SKIP LOCKED;
    bound := least(now() - lag, mark + interval '1 day');
    IF mark IS NULL OR bound <= mark THEN
        RETURN false;
    END IF;
    INSERT INTO usage_days (organization_id, day, agent_id, key_id, model, runs, calls, unconfirmed, input_tokens,
        output_tokens, cost_usd)
    SELECT u.organization_id, u.day, u.agent_id, u.key_id, u.model, sum(u.runs), sum(u.calls), sum(u.unconfirmed),
        sum(u.input_tokens), sum(u.output_tokens), sum(u.cost_usd)
    FROM usage_between(mark, bound) u GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (organization_id, day, agent_id, key_id, model) DO UPDATE SET
        runs = usage_days.runs + excluded.runs, calls = usage_days.calls + excluded.calls,
        input_tokens = usage_days.input_tokens + excluded.input_tokens,
        output_tokens = usage_days.output_tokens + excluded.output_tokens,
        cost_usd = CASE WHEN usage_days.cost_usd IS NULL AND excluded.cost_usd IS NULL THEN NULL
            ELSE coalesce(usage_days.cost_usd, 0) + coalesce(excluded.cost_usd, 0) END;
    UPDATE usage_mark SET until = bound;
    RETURN bound < now() - lag;
END $$
"""

FUNCTIONS = {
    "period_start(text, timestamptz)": PERIOD,
    "take_reservations(jsonb)": TAKE,
    "settle_reservations(jsonb)": SETTLE,
    "sweep_reservations(text, uuid[], boolean, double precision)": SWEEP,
    "usage_between(timestamptz, timestamptz)": BETWEEN,
    "roll_usage(interval)": ROLL,
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("runs", sa.Column("key_id", sa.Uuid(), nullable=True))
    op.create_index("idx_runs_created_at", "runs", ["created_at"], postgresql_using="brin")
    op.create_index("idx_run_steps_created_at", "run_steps", ["created_at"], postgresql_using="brin")
    tables()
    for table, (rights, of_system) in TENANT_TABLES.items():
        wall(table, rights, of_system)
    op.execute("ALTER TABLE usage_mark ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE usage_mark FORCE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everyone ON usage_mark TO af_app, af_system USING (true)")
    op.execute("GRANT SELECT ON usage_mark TO af_app")
    op.execute("GRANT SELECT, UPDATE ON usage_mark TO af_system")
    for body in FUNCTIONS.values():
        op.execute(body)


def tables() -> None:
    op.create_table('budgets',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('subject', sa.String(length=20), nullable=False),
    sa.Column('agent_id', sa.Uuid(), nullable=True),
    sa.Column('key_id', sa.Uuid(), nullable=True),
    sa.Column('metric', sa.String(length=20), nullable=False),
    sa.Column('period', sa.String(length=20), nullable=False),
    sa.Column('amount', sa.Numeric(), nullable=False),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("subject IN ('organization', 'agent', 'api_key')", name=op.f('ck_budgets_subject')),
    sa.CheckConstraint("(subject = 'agent') = (agent_id IS NOT NULL) AND (subject = 'api_key') = (key_id IS NOT NULL)", name=op.f('ck_budgets_whose')),
    sa.CheckConstraint("metric IN ('usd', 'tokens', 'tool_calls', 'runs')", name=op.f('ck_budgets_metric')),
    sa.CheckConstraint("period IN ('run', 'day', 'month', 'total')", name=op.f('ck_budgets_period')),
    sa.CheckConstraint("amount >= 0 AND amount <= 1000000000000000", name=op.f('ck_budgets_amount')),
    sa.ForeignKeyConstraint(['organization_id'], ['organizations.id'], name=op.f('fk_budgets_organization_id')),
    sa.ForeignKeyConstraint(['organization_id', 'agent_id'], ['agents.organization_id', 'agents.id'], name=op.f('fk_budgets_organization_id_agent_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_budgets'))
    )
    op.create_index('idx_budgets_organization', 'budgets', ['organization_id', 'id'], unique=False)
    op.create_index('uq_budgets_what', 'budgets', ['organization_id', 'subject', 'agent_id', 'key_id', 'metric', 'period'], unique=True, postgresql_nulls_not_distinct=True)
    op.create_table('quotas',
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('metric', sa.String(length=20), nullable=False),
    sa.Column('amount', sa.Numeric(), nullable=True),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("metric IN ('runs', 'tokens', 'usd', 'storage_bytes', 'seats')", name=op.f('ck_quotas_metric')),
    sa.CheckConstraint("amount >= 0 AND amount <= 1000000000000000", name=op.f('ck_quotas_amount')),
    sa.ForeignKeyConstraint(['organization_id'], ['organizations.id'], name=op.f('fk_quotas_organization_id')),
    sa.PrimaryKeyConstraint('organization_id', 'metric', name=op.f('pk_quotas'))
    )
    op.create_table('meters',
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), nullable=False),
    sa.Column('run_id', sa.Uuid(), nullable=True),
    sa.Column('used', sa.Numeric(), server_default=sa.text('0'), nullable=False),
    sa.Column('held', sa.Numeric(), server_default=sa.text('0'), nullable=False),
    sa.CheckConstraint("used >= 0 AND used < 1e18 AND held >= 0 AND held < 1e18", name=op.f('ck_meters_sane')),
    sa.PrimaryKeyConstraint('organization_id', 'key', 'since', name=op.f('pk_meters'))
    )
    op.create_index('idx_meters_since', 'meters', ['since'], unique=False)
    op.create_table('reservations',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('holder', sa.Text(), nullable=False),
    sa.Column('run_id', sa.Uuid(), nullable=True),
    sa.Column('path', sa.Text(), nullable=True),
    sa.Column('agent_id', sa.Uuid(), nullable=True),
    sa.Column('key_id', sa.Uuid(), nullable=True),
    sa.Column('model', sa.Text(), nullable=True),
    sa.Column('input_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('output_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('cost_usd', sa.Numeric(), nullable=True),
    sa.Column('keys', sa.ARRAY(sa.Text()), nullable=False),
    sa.Column('metrics', sa.ARRAY(sa.Text()), nullable=False),
    sa.Column('amounts', sa.ARRAY(sa.Numeric()), nullable=False),
    sa.Column('sinces', sa.ARRAY(sa.DateTime(timezone=True)), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_reservations'))
    )
    op.create_index('idx_reservations_holder', 'reservations', ['holder'], unique=False)
    op.create_table('usage_days',
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('agent_id', sa.Uuid(), nullable=False),
    sa.Column('key_id', sa.Uuid(), nullable=False),
    sa.Column('model', sa.Text(), nullable=False),
    sa.Column('runs', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('calls', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('unconfirmed', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('input_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('output_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('cost_usd', sa.Numeric(), nullable=True),
    sa.PrimaryKeyConstraint('organization_id', 'day', 'agent_id', 'key_id', 'model', name=op.f('pk_usage_days'))
    )
    op.create_table('usage_mark',
    sa.Column('id', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.Column('until', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("id", name=op.f('ck_usage_mark_one')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_usage_mark'))
    )
    # what was before counts, too
    op.execute("INSERT INTO usage_mark (until) SELECT coalesce(date_trunc('day', min(created_at), 'UTC'), now()) FROM runs")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {name}")
    op.drop_table("usage_mark")
    for table in reversed(TENANT_TABLES):
        op.drop_table(table)
    op.drop_index("idx_run_steps_created_at", "run_steps")
    op.drop_index("idx_runs_created_at", "runs")
    op.drop_column("runs", "key_id")
