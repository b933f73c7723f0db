"""Workflows, their triggers, waits and approvals; runs and their steps in partitions by month."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from agent_factory.database.migrations.walls import ALL, APPENDED, wall

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


# table: what requests may do, what the engine may do with all rows
TENANT_TABLES = {
    "workflows": (ALL, "SELECT"),
    "workflow_versions": (APPENDED, None),
    "triggers": (ALL, ALL),
    "trigger_ticks": (ALL, ALL),
    "events": (ALL, ALL),
    "run_waits": (ALL, ALL),
    "approvals": (ALL, ALL),
}
PARTITIONED = {"runs": ("id", ALL, ALL), "run_steps": ("run_id", APPENDED, ALL)}

# the first id that can be made at a moment: a UUIDv7 begins with its milliseconds
BOUND = """
CREATE FUNCTION run_bound(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT rpad(lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$
"""

# These two change tables, so they run with the rights of the tables' owner, whoever calls them.
MAKE = """
CREATE FUNCTION make_run_partitions(first timestamptz, ahead int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    month timestamptz := date_trunc('month', first, 'UTC');
    until timestamptz;
    part text;
    made int := 0;
    parent text;
    key text;
BEGIN
    PERFORM pg_advisory_xact_lock(1634103650);
    WHILE month <= date_trunc('month', now(), 'UTC') + make_interval(months => ahead) LOOP
        until := date_trunc('month', month + interval '32 days', 'UTC');
        FOR parent, key IN VALUES ('runs', 'id'), ('run_steps', 'run_id') LOOP
            part := parent || '_' || to_char(month AT TIME ZONE 'UTC', 'YYYY_MM');
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, parent);
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
            -- rows that came before their partition move into it
            EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= $1 AND %2$I < $2 RETURNING *)
                INSERT INTO %I SELECT * FROM moved', parent || '_default', key, part)
                USING run_bound(month), run_bound(until);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                parent, part, run_bound(month), run_bound(until));
            made := made + 1;
        END LOOP;
        month := until;
    END LOOP;
    RETURN made;
END $$
"""

DROP = """
CREATE FUNCTION drop_run_partitions(before timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    bound uuid := run_bound(date_trunc('month', before, 'UTC'));
    month text;
    alive boolean;
    dropped int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(1634103650);
    FOR month IN
        SELECT right(relname, 7) FROM pg_class JOIN pg_inherits ON inhrelid = oid
        WHERE inhparent = 'runs'::regclass AND relname ~ '^runs_\\d{4}_\\d{2}$'
            AND right(relname, 7) < to_char(before AT TIME ZONE 'UTC', 'YYYY_MM')
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE status IN (''pending'', ''running'', ''waiting''))',
            'runs_' || month) INTO alive;
        IF alive THEN
            -- a run that goes on for longer than runs are kept goes on, alone
            EXECUTE format('DELETE FROM %I WHERE status IN (''completed'', ''failed'', ''cancelled'')',
                'runs_' || month);
            EXECUTE format('DELETE FROM %I s WHERE NOT EXISTS (SELECT FROM %I r WHERE r.id = s.run_id)',
                'run_steps_' || month, 'runs_' || month);
        ELSE
            EXECUTE format('DROP TABLE %I, %I', 'runs_' || month, 'run_steps_' || month);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    DELETE FROM runs_default WHERE id < bound AND status IN ('completed', 'failed', 'cancelled');
    DELETE FROM run_steps_default s
        WHERE s.run_id < bound AND NOT EXISTS (SELECT FROM runs_default r WHERE r.id = s.run_id);
    RETURN dropped;
END $$
"""

# One claim at a time, so that no organisation gets more than its share: each statement in here sees what the claim
# before has taken, which the parts of one statement would not. Organisations are walked in turn by the index of pending
# runs, from the one after `after` on, and only as far as runs are wanted; the last row says where to go on the next
# time, and whether runs were left. A sequential scan is never right here, however small the table was when it was
# planned: the plan stays.
CLAIM = """
CREATE FUNCTION claim_runs(worker text, room int, guests int, limit_of_one int, here uuid[], after uuid)
RETURNS TABLE (run runs, turn uuid, more boolean) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    most CONSTANT uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
    organizations uuid[];
    frees int[];
    looked int := least(64, room + guests + cardinality(here));
    passed int;
    last uuid;
    share int;
    wanted int;
    taken int;
BEGIN
    PERFORM pg_advisory_xact_lock(1634103651);
    WITH RECURSIVE turns(id, place) AS (
        SELECT coalesce(
            (SELECT organization_id FROM runs WHERE status = 'pending' AND organization_id > after
             ORDER BY organization_id LIMIT 1),
            (SELECT organization_id FROM runs WHERE status = 'pending' AND organization_id <= after
             ORDER BY organization_id LIMIT 1)), 1
        UNION ALL
        SELECT coalesce(
            (SELECT organization_id FROM runs WHERE status = 'pending' AND organization_id > turns.id
                AND organization_id <= CASE WHEN turns.id > after THEN most ELSE after END
             ORDER BY organization_id LIMIT 1),
            CASE WHEN turns.id > after THEN
                (SELECT organization_id FROM runs WHERE status = 'pending' AND organization_id <= after
                 ORDER BY organization_id LIMIT 1) END), turns.place + 1
        FROM turns WHERE turns.id IS NOT NULL AND turns.place < 1000
    ), lined_up(id, place, free) AS (
        SELECT turns.id, turns.place, limit_of_one - at_work.count::int
        FROM turns, LATERAL (
            SELECT count(*) FROM (
                SELECT FROM runs WHERE organization_id = turns.id AND status = 'running' AND kind = 'workflow'
                LIMIT limit_of_one) few) at_work
        WHERE turns.id IS NOT NULL AND at_work.count < limit_of_one AND (room > 0 OR turns.id <> ALL (here))
        LIMIT looked
    )
    SELECT array_agg(id), array_agg(free), coalesce(max(place), 0), CASE WHEN count(*) = 0 THEN
            (SELECT id FROM turns WHERE id IS NOT NULL ORDER BY place DESC LIMIT 1) END
        INTO organizations, frees, passed, last FROM lined_up;
    -- where nobody can be let in, the next claim looks further on; and who was passed over may be let in when a run ends
    turn := coalesce(last, after);
    more := last IS NOT NULL OR passed > cardinality(organizations) OR looked = cardinality(organizations);
    more := coalesce(more, false);
    share := greatest(1, room / greatest(1, cardinality(organizations)));
    FOR i IN 1 .. coalesce(cardinality(organizations), 0) LOOP
        wanted := least(share, room, frees[i]);
        IF room = 0 THEN
            wanted := 1;
            IF guests = 0 OR organizations[i] = ANY (here) THEN
                more := true;
                CONTINUE;
            END IF;
        END IF;
        RETURN QUERY
            WITH chosen AS (
                SELECT r.id FROM runs r
                WHERE r.organization_id = organizations[i] AND r.status = 'pending'
                    AND (r.available_at IS NULL OR r.available_at <= clock_timestamp())
                ORDER BY r.priority DESC, r.id LIMIT wanted
                FOR UPDATE SKIP LOCKED
            )
            UPDATE runs SET status = 'running', owner = worker, epoch = runs.epoch + 1, available_at = NULL,
                started_at = coalesce(runs.started_at, clock_timestamp())
            FROM chosen WHERE runs.id = chosen.id
            RETURNING runs, NULL::uuid, NULL::boolean;
        GET DIAGNOSTICS taken = ROW_COUNT;
        more := more OR taken = wanted;
        turn := organizations[i];
        IF room > 0 THEN
            room := room - taken;
        ELSE
            guests := guests - taken;
        END IF;
    END LOOP;
    run := NULL;
    RETURN NEXT;
END $$
"""

FUNCTIONS = {
    "run_bound(timestamptz)": BOUND,
    "make_run_partitions(timestamptz, int)": MAKE,
    "drop_run_partitions(timestamptz)": DROP,
}
CLAIMS = {"claim_runs(text, int, int, int, uuid[], uuid)": CLAIM}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in PARTITIONED:
        set_aside(table)
    functions(FUNCTIONS)
    partitioned()
    functions(CLAIMS)
    for table, (_, rights, of_system) in PARTITIONED.items():
        take_back(table)
        wall(table, rights, of_system)
    tables()
    for table, (rights, of_system) in TENANT_TABLES.items():
        wall(table, rights, of_system)
    op.execute(
        "CREATE TRIGGER immutable BEFORE UPDATE ON workflow_versions FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )


def functions(sources: dict[str, str]) -> None:
    for name, source in sources.items():
        op.execute(source)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO af_system")


def set_aside(table: str) -> None:
    op.execute(f"ALTER TABLE {table} RENAME TO {table}_before")
    op.execute(f"ALTER TABLE {table}_before NO FORCE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table}_before DROP CONSTRAINT pk_{table}")
    for index in ("agent_started", "in_flight", "organization", "session"):
        if table == "runs":
            op.execute(f"DROP INDEX idx_runs_{index}")


def take_back(table: str) -> None:
    columns = ", ".join(column["name"] for column in sa.inspect(op.get_bind()).get_columns(f"{table}_before"))
    op.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_before")
    op.execute(f"DROP TABLE {table}_before")


def partitioned() -> None:
    for table, (key, _, _) in PARTITIONED.items():
        op.execute(
            f"CREATE TABLE {table} (LIKE {table}_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS) "
            f"PARTITION BY RANGE ({key})"
        )
    op.execute("ALTER TABLE runs ADD CONSTRAINT pk_runs PRIMARY KEY (id)")
    op.execute("ALTER TABLE run_steps ADD CONSTRAINT pk_run_steps PRIMARY KEY (run_id, path)")
    op.execute("""
        ALTER TABLE runs
            ADD COLUMN workflow_id uuid,
            ADD COLUMN workflow_version integer,
            ADD COLUMN parent_run uuid,
            ADD COLUMN parent_path text,
            ADD COLUMN forked_from uuid,
            ADD COLUMN trigger text,
            ADD COLUMN priority integer NOT NULL DEFAULT 0,
            ADD COLUMN available_at timestamptz,
            ADD COLUMN labels text[] NOT NULL DEFAULT '{}',
            ADD COLUMN attempts integer NOT NULL DEFAULT 0,
            ADD COLUMN progress integer NOT NULL DEFAULT 0,
            ADD COLUMN signals integer NOT NULL DEFAULT 0
    """)
    op.create_index("idx_runs_agent_started", "runs", ["agent_id", sa.literal_column("started_at DESC")])
    op.create_index("idx_runs_in_flight", "runs", ["owner"], postgresql_where=sa.text("status = 'running'"))
    op.create_index("idx_runs_organization", "runs", ["organization_id", "id"])
    op.create_index("idx_runs_session", "runs", ["session_id", "id"], postgresql_where=sa.text("session_id IS NOT NULL"))
    op.create_index("idx_runs_workflow", "runs", ["workflow_id", "id"], postgresql_where=sa.text("workflow_id IS NOT NULL"))
    op.create_index(
        "idx_runs_queue",
        "runs",
        ["organization_id", sa.literal_column("priority DESC"), "id"],
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "idx_runs_at_work", "runs", ["organization_id"], postgresql_where=sa.text("status = 'running' AND kind = 'workflow'")
    )
    for table in PARTITIONED:
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
        op.execute(f"ALTER TABLE {table}_default ENABLE ROW LEVEL SECURITY")
    # two years back at the most: what is older has no month of its own
    op.execute("""
        SELECT make_run_partitions(greatest(
            least((SELECT min(created_at) FROM runs_before), now()), now() - interval '2 years'), 2)
    """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TENANT_TABLES):
        op.drop_table(table)
    for table in PARTITIONED:
        op.execute(f"ALTER TABLE {table} RENAME TO {table}_parted")
        op.execute(f"ALTER TABLE {table}_parted NO FORCE ROW LEVEL SECURITY")
    for name in reversed({**FUNCTIONS, **CLAIMS}):
        op.execute(f"DROP FUNCTION {name}")
    for index in ("agent_started", "in_flight", "organization", "session", "workflow", "queue", "at_work"):
        op.execute(f"DROP INDEX idx_runs_{index}")
    for table in PARTITIONED:
        op.execute(f"ALTER TABLE {table}_parted DROP CONSTRAINT pk_{table}")
        op.execute(f"CREATE TABLE {table} (LIKE {table}_parted INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    op.execute("ALTER TABLE runs ADD CONSTRAINT pk_runs PRIMARY KEY (id)")
    op.execute("ALTER TABLE run_steps ADD CONSTRAINT pk_run_steps PRIMARY KEY (run_id, path)")
    # what is asked for here knows of agents only
    op.execute("INSERT INTO runs SELECT * FROM runs_parted WHERE kind = 'agent'")
    op.execute("INSERT INTO run_steps SELECT * FROM run_steps_parted WHERE run_id IN (SELECT id FROM runs)")
    op.execute("""
        ALTER TABLE runs DROP COLUMN workflow_id, DROP COLUMN workflow_version, DROP COLUMN parent_run,
            DROP COLUMN parent_path, DROP COLUMN forked_from, DROP COLUMN trigger, DROP COLUMN priority,
            DROP COLUMN available_at, DROP COLUMN labels, DROP COLUMN attempts, DROP COLUMN progress,
            DROP COLUMN signals
    """)
    op.create_index("idx_runs_agent_started", "runs", ["agent_id", sa.literal_column("started_at DESC")])
    op.create_index("idx_runs_in_flight", "runs", ["owner"], postgresql_where=sa.text("status IN ('pending', 'running')"))
    op.create_index("idx_runs_organization", "runs", ["organization_id", "id"])
    op.create_index("idx_runs_session", "runs", ["session_id", "id"], postgresql_where=sa.text("session_id IS NOT NULL"))
    for table, (_, rights, of_system) in PARTITIONED.items():
        op.execute(f"DROP TABLE {table}_parted")
        wall(table, rights, of_system)


def tables() -> None:
    op.create_table('approvals',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('run_id', sa.Uuid(), nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('title', sa.Text(), server_default='', nullable=False),
    sa.Column('details', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    sa.Column('roles', sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('users', sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('deadline', sa.DateTime(timezone=True), nullable=True),
    sa.Column('default_decision', sa.String(length=20), nullable=True),
    sa.Column('status', sa.String(length=20), server_default='pending', nullable=False),
    sa.Column('decided_by', sa.Uuid(), nullable=True),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('comment', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("status IN ('pending', 'approved', 'denied', 'expired', 'cancelled')", name=op.f('ck_approvals_status')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_approvals')),
    sa.UniqueConstraint('run_id', 'path', name=op.f('uq_approvals_run_id_path'))
    )
    op.create_index('idx_approvals_open', 'approvals', ['organization_id', 'id'], unique=False, postgresql_where=sa.text("status = 'pending'"))
    op.create_index('idx_approvals_organization', 'approvals', ['organization_id', 'id'], unique=False)
    op.create_table('events',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('type', sa.Text(), nullable=False),
    sa.Column('data', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    sa.Column('key', sa.Text(), nullable=True),
    sa.Column('source_run', sa.Uuid(), nullable=True),
    sa.Column('handled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_events'))
    )
    op.create_index('idx_events_organization', 'events', ['organization_id', 'id'], unique=False)
    op.create_index('idx_events_unhandled', 'events', ['id'], unique=False, postgresql_where=sa.text('handled_at IS NULL'))
    op.create_index('uq_events_key', 'events', ['organization_id', 'key'], unique=True, postgresql_where=sa.text('key IS NOT NULL'))
    op.create_table('run_waits',
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('run_id', sa.Uuid(), nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('kind', sa.String(length=20), nullable=False),
    sa.Column('wake_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('event_type', sa.Text(), nullable=True),
    sa.Column('data', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('result', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    sa.Column('resolved_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('run_id', 'path', name=op.f('pk_run_waits'))
    )
    op.create_index('idx_run_waits_due', 'run_waits', ['wake_at'], unique=False, postgresql_where=sa.text('resolved_at IS NULL AND wake_at IS NOT NULL'))
    op.create_index('idx_run_waits_event', 'run_waits', ['organization_id', 'event_type'], unique=False, postgresql_where=sa.text('resolved_at IS NULL AND event_type IS NOT NULL'))
    op.create_table('trigger_ticks',
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('trigger_id', sa.Uuid(), nullable=False),
    sa.Column('tick_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('run_id', sa.Uuid(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('trigger_id', 'tick_at', name=op.f('pk_trigger_ticks'))
    )
    op.create_index('idx_trigger_ticks_created_at', 'trigger_ticks', ['created_at'], unique=False)
    op.create_table('workflows',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), server_default='', nullable=False),
    sa.Column('status', sa.String(length=20), server_default='draft', nullable=False),
    sa.Column('latest_version', sa.Integer(), server_default=sa.text('1'), nullable=False),
    sa.Column('deployed_version', sa.Integer(), nullable=True),
    sa.Column('revision', sa.Integer(), server_default=sa.text('1'), nullable=False),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("status IN ('draft', 'active', 'deployed', 'paused', 'archived')", name=op.f('ck_workflows_status')),
    sa.ForeignKeyConstraint(['organization_id'], ['organizations.id'], name=op.f('fk_workflows_organization_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_workflows')),
    sa.UniqueConstraint('organization_id', 'id', name=op.f('uq_workflows_organization_id_id'))
    )
    op.create_index('uq_workflows_name', 'workflows', ['organization_id', 'name'], unique=True, postgresql_where=sa.text("status <> 'archived'"))
    op.create_table('triggers',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('workflow_id', sa.Uuid(), nullable=False),
    sa.Column('type', sa.String(length=20), nullable=False),
    sa.Column('config', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('enabled', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.Column('path', sa.String(length=500), nullable=True),
    sa.Column('method', sa.String(length=10), nullable=True),
    sa.Column('secret', sa.LargeBinary(), nullable=True),
    sa.Column('event_type', sa.Text(), nullable=True),
    sa.Column('timezone', sa.String(length=100), nullable=True),
    sa.Column('misfire', sa.String(length=20), nullable=True),
    sa.Column('next_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("type IN ('webhook', 'cron', 'event')", name=op.f('ck_triggers_type')),
    sa.ForeignKeyConstraint(['organization_id', 'workflow_id'], ['workflows.organization_id', 'workflows.id'], name=op.f('fk_triggers_organization_id_workflow_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_triggers'))
    )
    op.create_index('idx_triggers_due', 'triggers', ['next_at'], unique=False, postgresql_where=sa.text('enabled AND next_at IS NOT NULL'))
    op.create_index('idx_triggers_event', 'triggers', ['organization_id', 'event_type'], unique=False, postgresql_where=sa.text('enabled AND event_type IS NOT NULL'))
    op.create_index('idx_triggers_workflow', 'triggers', ['organization_id', 'workflow_id'], unique=False)
    op.create_index('uq_triggers_path', 'triggers', ['path'], unique=True, postgresql_where=sa.text('path IS NOT NULL'))
    op.create_table('workflow_versions',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('workflow_id', sa.Uuid(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('definition', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
    sa.Column('digest', sa.String(length=64), nullable=False),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['organization_id', 'workflow_id'], ['workflows.organization_id', 'workflows.id'], name=op.f('fk_workflow_versions_organization_id_workflow_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_workflow_versions')),
    sa.UniqueConstraint('workflow_id', 'number', name=op.f('uq_workflow_versions_workflow_id_number'))
    )
    op.create_index('idx_workflow_versions_workflow', 'workflow_versions', ['organization_id', 'workflow_id'], unique=False)
