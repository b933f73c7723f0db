"""The SQL of the journal; each statement takes a whole batch as arrays, one element or row an operation."""

BEGIN = """
with b as (
  select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::int[], $6::uuid[], $7::int[], $8::text[],
    $9::text[], $10::uuid[], $11::timestamptz[], $12::uuid[], $13::text[], $14::text[], $15::bool[], $16::uuid[])
  as b(id, organization_id, source, agent_id, agent_version, session_id, revision, snapshot,
    input, created_by, created_at, message_id, parts, definition, deployed, key_id)
  where not deployed or exists (
    select from agents a
    where a.id = b.agent_id and a.organization_id = b.organization_id
      and a.status = 'deployed' and a.deployed_version = b.agent_version
  )
), s as (
  update sessions set revision = sessions.revision + 1, message_count = message_count + 1, updated_at = b.created_at
  from b
  where sessions.id = b.session_id and sessions.organization_id = b.organization_id
    and sessions.revision = b.revision and b.revision % 2 = 0
  returning b.id as run_id, message_count
), ok as (
  select b.*, s.message_count from b left join s on s.run_id = b.id where b.session_id is null or s.run_id is not null
), d as (
  insert into run_snapshots (organization_id, digest, definition)
  select distinct on (organization_id, snapshot) organization_id, snapshot, definition::jsonb from ok
  where definition is not null
  on conflict do nothing
), m as (
  insert into messages (organization_id, session_id, seq, id, run_id, role, parts, created_at)
  select organization_id, session_id, message_count, message_id, id, 'user', parts::jsonb, created_at from ok
  where session_id is not null
), r as (
  insert into runs (id, organization_id, kind, source, agent_id, agent_version, session_id, snapshot, status, input,
    owner, epoch, created_by, created_at, started_at, key_id)
  select id, organization_id, 'agent', source, agent_id, agent_version, session_id, snapshot, 'running', input::jsonb,
    $17, 1, created_by, created_at, created_at, key_id
  from ok
)
select b.id, ok.id is not null as begun, ok.message_count as seq from b left join ok on ok.id = b.id
"""

BEGUN = """
select r.id, s.message_count as seq from runs r left join sessions s on s.id = r.session_id
where r.id = any($1::uuid[]) and r.owner = $2 and r.epoch = 1
"""

PUT = """
with l as (
  select r.id from unnest($1::uuid[], $2::int[]) as b(id, epoch)
  join runs r on r.id = b.id and r.epoch = b.epoch
  where r.owner = $16 and r.status = 'running'
  for share of r
), i as (
  insert into run_steps (organization_id, run_id, path, ord, kind, name, input, output, is_error, duration_ms,
    input_tokens, output_tokens, cost_usd)
  select e.organization_id, e.run_id, e.path, e.ord, e.kind, e.name, e.input::jsonb, e.output::jsonb, e.is_error,
    e.duration_ms, e.input_tokens, e.output_tokens, e.cost_usd
  from unnest($3::uuid[], $4::uuid[], $5::text[], $6::int[], $7::text[], $8::text[], $9::text[], $10::text[],
    $11::bool[], $12::int[], $13::int[], $14::int[], $15::numeric[])
  as e(organization_id, run_id, path, ord, kind, name, input, output, is_error, duration_ms, input_tokens,
    output_tokens, cost_usd)
  join l on l.id = e.run_id
  on conflict (run_id, path) do nothing
)
select id from l
"""

SETTLE = """
with b as (
  select * from unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[],
    $9::numeric[], $10::int[], $11::timestamptz[], $12::int[], $13::text[])
  as b(id, epoch, session_id, status, output, error, input_tokens, output_tokens, cost_usd, duration_ms, at,
    messages, summary)
), r as (
  update runs set status = b.status, output = b.output::jsonb, error = b.error::jsonb, owner = null,
    input_tokens = b.input_tokens, output_tokens = b.output_tokens, cost_usd = b.cost_usd,
    duration_ms = b.duration_ms, completed_at = case when b.status = 'waiting' then null else b.at end
  from b
  where runs.id = b.id and runs.epoch = b.epoch and runs.owner = $14 and runs.status = 'running'
  returning runs.id
), i as (
  insert into run_steps (organization_id, run_id, path, ord, kind, name, input, output, is_error, duration_ms,
    input_tokens, output_tokens, cost_usd)
  select e.organization_id, e.run_id, e.path, e.ord, e.kind, e.name, e.input::jsonb, e.output::jsonb, e.is_error,
    e.duration_ms, e.input_tokens, e.output_tokens, e.cost_usd
  from unnest($15::uuid[], $16::uuid[], $17::text[], $18::int[], $19::text[], $20::text[], $21::text[], $22::text[],
    $23::bool[], $24::int[], $25::int[], $26::int[], $27::numeric[])
  as e(organization_id, run_id, path, ord, kind, name, input, output, is_error, duration_ms, input_tokens,
    output_tokens, cost_usd)
  join r on r.id = e.run_id
  on conflict (run_id, path) do nothing
), s as (
  update sessions set revision = revision + 1, message_count = message_count + b.messages, updated_at = b.at,
    summary = coalesce(b.summary::jsonb, sessions.summary)
  from b join r on r.id = b.id
  where sessions.id = b.session_id and b.status <> 'waiting'
  returning b.id as run_id
), m as (
  insert into messages (organization_id, session_id, seq, id, run_id, role, parts, created_at)
  select m.organization_id, m.session_id, m.seq, m.id, m.run_id, m.role, m.parts::jsonb, m.created_at
  from unnest($28::uuid[], $29::uuid[], $30::int[], $31::uuid[], $32::uuid[], $33::text[], $34::text[],
    $35::timestamptz[])
  as m(organization_id, session_id, seq, id, run_id, role, parts, created_at)
  join s on s.run_id = m.run_id
)
select id from r
"""

SETTLED = """
select r.id from unnest($1::uuid[], $2::int[], $3::text[]) as b(id, epoch, status)
join runs r on r.id = b.id and r.epoch = b.epoch and r.status = b.status and r.owner is null
"""

AMEND = """
with r as (
  update runs set input = jsonb_set(input, '{message}', $4::text::jsonb)
  where id = $1 and epoch = $2 and owner = $3 and status = 'running'
  returning id
)
update messages set parts = $7::text::jsonb from r where session_id = $5 and seq = $6 and run_id = r.id
"""

BEAT = """
insert into processes (id, beat_at) values ($1, now()) on conflict (id) do update set beat_at = now()
"""

FORGET_PROCESSES = "delete from processes where beat_at < now() - interval '1 day'"

LEAVE = "delete from processes where id = $1"

OWNED = "select id from runs where owner = $1 and status = 'running' and kind = 'agent'"

RELEASE = "update runs set owner = null where owner = $1 and status = 'running' and kind = 'agent'"

_RUN = """runs.id, runs.organization_id, runs.source, runs.agent_id, runs.agent_version, runs.session_id, runs.snapshot,
  runs.status, runs.input::text as input, runs.output::text as output, runs.error::text as error, runs.input_tokens,
  runs.output_tokens, runs.cost_usd, runs.epoch, runs.owner, runs.started_at, runs.key_id"""

REAP = f"""
with dead as (
  select id from runs
  where status = 'running' and kind = 'agent' and (
    owner is null
    or owner = $1 and id = any($2::uuid[])
    or $3 and owner <> $1 and not exists (
      select from processes p where p.id = runs.owner and p.beat_at > now() - make_interval(secs => $4)
    )
  )
  order by id limit $5
  for update skip locked
)
update runs set owner = $1, epoch = epoch + (runs.owner is not null)::int
from dead where runs.id = dead.id
returning {_RUN}
"""  # noqa: S608 - a constant list of columns

SEIZE = f"""
update runs set owner = $3, epoch = epoch + 1, status = 'running', output = null
where id = $1 and organization_id = $2 and kind = 'agent' and status in ('running', 'waiting')
returning {_RUN}
"""  # noqa: S608 - a constant list of columns

DECIDE = f"""
with step as (
  insert into run_steps (organization_id, run_id, path, ord, kind, name, input, output)
  select organization_id, id, $5, (select coalesce(max(ord), 0) + 1 from run_steps s where s.run_id = runs.id),
    'approval', $6, $7::text::jsonb, $8::text::jsonb
  from runs where id = $1 and organization_id = $2 and kind = 'agent' and status = 'waiting' and output->>'path' = $5
  on conflict (run_id, path) do nothing
  returning run_id
)
update runs set owner = $3, epoch = $4, status = 'running', output = null
from step where runs.id = step.run_id and runs.status = 'waiting'
returning {_RUN}
"""  # noqa: S608 - a constant list of columns

RUN = f"select {_RUN} from runs where id = $1 and organization_id = $2"  # noqa: S608 - a constant list of columns

STEPS = """
select path, ord, kind, name, input::text as input, output::text as output, is_error, duration_ms, input_tokens,
  output_tokens, cost_usd
from run_steps where run_id = $1 and organization_id = $2 and ord > $3 order by ord
"""

SNAPSHOT = "select definition::text as definition from run_snapshots where organization_id = $1 and digest = $2"

CONVERSATION = """
select agent_id, revision, summary::text as summary, (
  select json_agg(json_build_object('role', m.role, 'parts', m.parts) order by m.seq)::text
  from messages m where m.session_id = sessions.id and m.seq < $3
) as messages
from sessions where id = $1 and organization_id = $2
"""

SAID = """
select json_agg(json_build_object('role', role, 'parts', parts) order by seq)::text as messages
from messages where session_id = $1 and organization_id = $2 and run_id = $3
"""

FIRST = "select min(seq) as seq from messages where session_id = $1 and organization_id = $2 and run_id = $3"
