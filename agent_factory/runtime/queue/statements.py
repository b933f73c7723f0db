"""The SQL of the queue. `now()` is PostgreSQL's, so that no two processes disagree about the time."""

ENQUEUE = """
with b as (
  select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::int[], $6::text[], $7::int[], $8::text[],
    $9::text[], $10::uuid[], $11::timestamptz[], $12::uuid[], $13::uuid[], $14::text[], $15::text[], $16::uuid[])
  as b(id, organization_id, source, workflow_id, workflow_version, trigger, priority, snapshot, input, created_by,
    created_at, forked_from, parent_run, parent_path, definition, key_id)
), d as (
  insert into run_snapshots (organization_id, digest, definition)
  select distinct on (organization_id, snapshot) organization_id, snapshot, definition::jsonb from b
  where definition is not null
  on conflict do nothing
), r as (
  insert into runs (id, organization_id, kind, source, workflow_id, workflow_version, trigger, priority, snapshot,
    status, input, created_by, created_at, forked_from, parent_run, parent_path, key_id)
  select id, organization_id, 'workflow', source, workflow_id, workflow_version, trigger, priority, snapshot,
    'pending', input::jsonb, created_by, created_at, forked_from, parent_run, parent_path, key_id
  from b
  on conflict (id) do nothing
  returning id
)
select b.id, r.id is not null as new, (select pg_notify('af_queue', '') from r limit 1)
from b left join r on r.id = b.id
"""

ENQUEUED = "select id from runs where id = any($1::uuid[]) and kind = 'workflow'"

CLAIM = """
select (run).id, (run).organization_id, (run).snapshot, (run).priority, (run).input::text as input, (run).epoch,
  (run).attempts, (run).progress, (run).signals, (run).started_at, (run).forked_from is not null as forked,
  (run).key_id, turn, more
from claim_runs($1, $2, $3, $4, $5, $6)
"""
"""The runs, and a last row that says whose turn was the last and whether runs were left."""

SETTLE = """
with b as (
  select * from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
    $8::bigint[], $9::numeric[], $10::timestamptz[], $11::int[])
  as b(id, epoch, status, output, error, labels, input_tokens, output_tokens, cost_usd, at, signals)
), r as (
  update runs set
    status = case when b.status = 'waiting' and runs.signals <> b.signals then 'pending' else b.status end,
    output = b.output::jsonb, error = b.error::jsonb, owner = null, attempts = 0,
    labels = array(select jsonb_array_elements_text(b.labels::jsonb)),
    input_tokens = b.input_tokens, output_tokens = b.output_tokens, cost_usd = b.cost_usd,
    duration_ms = least(greatest(0, extract(epoch from b.at - runs.started_at) * 1000), 2147483647)::int,
    completed_at = case when b.status = 'waiting' then null else b.at end
  from b
  where runs.id = b.id and runs.epoch = b.epoch and runs.owner = $12 and runs.status = 'running'
  returning runs.id, runs.status
), i as (
  insert into run_steps (organization_id, run_id, path, ord, kind, name, input, output, is_error, duration_ms,
    input_tokens, output_tokens, cost_usd)
  select e.organization_id, e.run_id, e.path, e.ord, e.kind, e.name, e.input::jsonb, e.output::jsonb, e.is_error,
    e.duration_ms, e.input_tokens, e.output_tokens, e.cost_usd
  from unnest($13::uuid[], $14::uuid[], $15::text[], $16::int[], $17::text[], $18::text[], $19::text[], $20::text[],
    $21::bool[], $22::int[], $23::int[], $24::int[], $25::numeric[])
  as e(organization_id, run_id, path, ord, kind, name, input, output, is_error, duration_ms, input_tokens,
    output_tokens, cost_usd)
  join r on r.id = e.run_id
  on conflict (run_id, path) do nothing
), w as (
  delete from run_waits using r where run_waits.run_id = r.id and r.status in ('completed', 'failed')
), a as (
  update approvals set status = 'cancelled' from r
  where approvals.run_id = r.id and approvals.status = 'pending' and r.status in ('completed', 'failed')
)
select id, status from r
"""

SETTLED = """
select r.id, r.status from unnest($1::uuid[], $2::int[], $3::text[]) as b(id, epoch, status)
join runs r on r.id = b.id and r.epoch = b.epoch and r.owner is null
  and (r.status = b.status or r.status = 'pending' and b.status = 'waiting')
"""

OWNED = "select id from runs where owner = $1 and status = 'running' and kind = 'workflow'"

TAKE_BACK = """
with dead as (
  select id from runs
  where status = 'running' and kind = 'workflow' and (
    owner is null
    or owner = $1 and id = any($2::uuid[])
    or $3 and owner <> $1 and not exists (
      select from processes p where p.id = runs.owner and p.beat_at > now() - make_interval(secs => $4)
    )
  )
  order by id limit 500
  for update skip locked
), d as (
  select id, (select count(*) from run_steps s where s.run_id = dead.id)::int as steps from dead
)
update runs set status = 'pending', owner = null, progress = d.steps,
  attempts = case when d.steps > runs.progress then 1 else runs.attempts + 1 end
from d where runs.id = d.id
returning runs.id, runs.attempts
"""

GIVE_BACK = """
with r as (
  update runs set status = 'pending', owner = null
  where owner = $1 and status = 'running' and kind = 'workflow'
  returning id
)
select id, (select pg_notify('af_queue', '') from r limit 1) from r
"""

CANCEL = """
with r as (
  update runs set status = 'cancelled', owner = null, epoch = epoch + 1, error = $3::text::jsonb, completed_at = now(),
    duration_ms = least(extract(epoch from now() - started_at) * 1000, 2147483647)::int,
    input_tokens = s.input_tokens, output_tokens = s.output_tokens, cost_usd = s.cost_usd
  from (
    select coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(output_tokens), 0) as output_tokens,
      sum(cost_usd) as cost_usd
    from run_steps where run_id = $1
  ) s
  where id = $1 and organization_id = $2 and kind = 'workflow' and status in ('pending', 'running', 'waiting')
  returning id
), w as (
  delete from run_waits using r where run_waits.run_id = r.id
), a as (
  update approvals set status = 'cancelled' from r where approvals.run_id = r.id and approvals.status = 'pending'
)
select id, (select pg_notify('af_runs', $1::uuid::text) from r) from r
"""

RESUME = """
with r as (
  update runs set status = 'pending', error = null, output = null, completed_at = null, attempts = 0, progress = 0
  where id = $1 and organization_id = $2 and kind = 'workflow' and status = $3 and epoch = $4
  returning id, organization_id, epoch
), gone as (
  delete from run_steps using r where run_steps.run_id = r.id and run_steps.path = any($5::text[])
), mark as (
  insert into run_steps (organization_id, run_id, path, ord, kind, name, output)
  select r.organization_id, r.id, 'resume/' || r.epoch, $6, 'resume', $3, to_jsonb($7::text[]) from r
  on conflict do nothing
)
select id, (select pg_notify('af_queue', '') from r) from r
"""

COPY_STEPS = """
insert into run_steps (organization_id, run_id, path, ord, kind, name, input, output, is_error, duration_ms)
select organization_id, $2, path, ord, kind, name, input, output, is_error, duration_ms
from run_steps where run_id = $1 and organization_id = $3 and path = any($4::text[])
on conflict do nothing
"""

PATHS = """
select path, ord, kind, name, is_error from run_steps
where run_id = $1 and organization_id = $2 and starts_with(path, $3) order by ord
"""

ENTRIES = """
select path, ord, kind, name, input::text as input, output::text as output, is_error, duration_ms, input_tokens,
  output_tokens, cost_usd
from run_steps where run_id = $1 and organization_id = $2 and path = any($3::text[])
"""

PAGE = """
select path, ord, kind, name, input::text as input, output::text as output, is_error, duration_ms, input_tokens,
  output_tokens, cost_usd
from run_steps where run_id = $1 and organization_id = $2 and ord > $3 order by ord limit $4
"""

SPENT = """
select coalesce(sum(input_tokens), 0)::bigint as input_tokens, coalesce(sum(output_tokens), 0)::bigint as output_tokens,
  sum(cost_usd) as cost_usd
from run_steps where run_id = $1
"""

RUNS = """
select id, organization_id, kind, source, status, workflow_id, workflow_version, snapshot, priority, trigger, labels,
  input::text as input, output::text as output, error::text as error, input_tokens, output_tokens, cost_usd, epoch,
  created_by, created_at, started_at, completed_at, duration_ms, forked_from, parent_run, parent_path
from runs join unnest($1::uuid[], $2::uuid[]) as asked(run, organization) on id = run and organization_id = organization
where kind = 'workflow'
"""

SNAPSHOT = "select definition::text as definition from run_snapshots where organization_id = $1 and digest = $2"

REGISTER = """
with r as (
  select id, organization_id from runs where id = $1 and epoch = $2 and owner = $3 and status = 'running' for share
), w as (
  insert into run_waits (organization_id, run_id, path, kind, wake_at, event_type, data)
  select organization_id, id, $4, $5, $6, $7, $8::text::jsonb from r
  on conflict (run_id, path) do nothing
  returning organization_id, run_id, path
), a as (
  insert into approvals (id, organization_id, run_id, path, title, details, roles, users, deadline, default_decision)
  select $9, organization_id, run_id, path, $10, $11::text::jsonb, $12, $13, $6, $14 from w where $5 = 'approval'
  on conflict (run_id, path) do update set status = 'pending', title = excluded.title, details = excluded.details,
    deadline = excluded.deadline, decided_by = null, decided_at = null, comment = null
)
select r.id, w.path is not null as new from r left join w on true
"""

RESOLVED = """
select path, kind, data::text as data, result::text as result from run_waits
where run_id = $1 and resolved_at is not null order by resolved_at, path
"""

SIGNALS = "select signals from runs where id = $1"

COME = "select distinct run_id from run_waits where run_id = any($1::uuid[]) and resolved_at is not null"

FORGET_WAITS = "delete from run_waits where run_id = $1 and path = any($2::text[])"

KEEP_WAITS = "delete from run_waits where run_id = $1 and path <> all($2::text[]) and resolved_at is null"

_WAKE = """
update runs set signals = signals + 1, status = case when status = 'waiting' then 'pending' else status end
from (select distinct run_id from w) d
where runs.id = d.run_id and runs.status in ('pending', 'running', 'waiting')
returning runs.id, runs.status
"""

_SAY = """(select pg_notify('af_queue', '') from r limit 1),
  (select count(pg_notify('af_fires', r.id::text)) from r where r.status = 'running')"""
"""A run that waits is queued; whoever is at work on one looks what came."""

DUE = f"""
with due as (
  select run_id, path from run_waits where resolved_at is null and wake_at <= now()
  order by wake_at limit $1
  for update skip locked
), w as (
  update run_waits set resolved_at = now(), result =
    case when kind = 'timer' then '{{}}'::jsonb else '{{"status": "failed"}}'::jsonb end
  from due where run_waits.run_id = due.run_id and run_waits.path = due.path
  returning run_waits.run_id, run_waits.path
), a as (
  update approvals set status = 'expired', decided_at = now() from w
  where approvals.run_id = w.run_id and approvals.path = w.path and approvals.status = 'pending'
), r as ({_WAKE})
select count(*) as fired, (select count(*) from r) as woken, {_SAY}
from w
"""  # noqa: S608 - constant parts

NEXT_DUE = """
select extract(epoch from min(wake_at) - now())::float as seconds from run_waits
where resolved_at is null and wake_at is not null
"""

DECIDE = f"""
with a as (
  update approvals set status = $5, decided_by = $6, decided_at = now(), comment = $7
  where run_id = $1 and organization_id = $2 and path = $3 and status = 'pending'
  returning run_id, path
), w as (
  update run_waits set resolved_at = now(), result = $4::text::jsonb from a
  where run_waits.run_id = a.run_id and run_waits.path = a.path and resolved_at is null
  returning run_waits.run_id
), r as ({_WAKE})
select (select count(*) from a) as decided, {_SAY}
"""  # noqa: S608 - constant parts

FIRE = f"""
with w as (
  update run_waits set resolved_at = now(), result = $4::text::jsonb
  where run_id = $1 and organization_id = $2 and path = $3 and resolved_at is null
  returning run_id
), r as ({_WAKE})
select (select count(*) from w) as fired, {_SAY}
"""  # noqa: S608 - constant parts

TELL = """
insert into events (id, organization_id, type, data, key, source_run) values ($1, $2, $3, $4::text::jsonb, $5, $6)
on conflict (organization_id, key) where key is not null do nothing
returning id, pg_notify('af_events', '')
"""

TOLD = "select id from events where organization_id = $1 and key = $2"

EVENT_WAITS = """
select run_id, path, data::text as data from run_waits
where organization_id = $1 and event_type = $2 and resolved_at is null and created_at <= $3
order by run_id, path
"""

LAST = "select coalesce(max(ord), 0) from run_steps where run_id = $1"

OPEN_WAITS = """
select path, kind, event_type, data::text as data,
  to_char(wake_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as wake_at
from run_waits where run_id = $1 and resolved_at is null order by created_at, path
"""

UNHANDLED = """
select id, organization_id, type, data::text as data, source_run, created_at from events
where handled_at is null order by id limit $1
"""

HANDLED = "update events set handled_at = now() where id = any($1::uuid[]) and handled_at is null"
