"""The SQL of the ledger. The time is PostgreSQL's, so that no two processes disagree about a period."""

LIMITS = """
select null::uuid as budget_id, metric, null as period, amount, null as agent, null::uuid as agent_id,
  null::text[] as names, null::uuid as key_id, null::uuid[] as keys
from quotas where organization_id = $1
union all
select b.id, b.metric, b.period, b.amount, a.name, a.id, array(
  select former from unnest(a.former_names) former where not exists (
    select from agents o where o.organization_id = a.organization_id and o.id <> a.id and o.name = former
  )
), b.key_id, array(
  with recursive made as (
    select b.key_id as id
    union
    select k.id from api_keys k join made m on k.made_with = m.id where k.organization_id = b.organization_id
  )
  select id from made where id is not null
)
from budgets b left join agents a on a.id = b.agent_id and a.organization_id = b.organization_id
where b.organization_id = $1
"""
"""What runs may be an older version of an agent; a former name that another one has by now is that one's.

A key's budget is that of all keys that were made with it, too.
"""

TAKE = "select id, granted, full_key, rooms::text as rooms from take_reservations($1::text::jsonb)"

SETTLE = "select settle_reservations($1::text::jsonb)"

HELD = "select id from reservations where holder = $1"

SWEEP = "select sweep_reservations($1, $2::uuid[], $3, $4)"

ROLL = "select roll_usage(make_interval(secs => $1))"

TELL = """
insert into usage_days (organization_id, day, agent_id, key_id, model, calls, input_tokens, output_tokens, cost_usd)
values ($1, (now() at time zone 'UTC')::date, $2, $3, $4, 1, $5, $6, $7)
on conflict (organization_id, day, agent_id, key_id, model) do update set
  calls = usage_days.calls + 1,
  input_tokens = usage_days.input_tokens + excluded.input_tokens,
  output_tokens = usage_days.output_tokens + excluded.output_tokens,
  cost_usd = case when usage_days.cost_usd is null and excluded.cost_usd is null then null
    else coalesce(usage_days.cost_usd, 0) + coalesce(excluded.cost_usd, 0) end
"""

CLEAN = """
delete from meters m where m.held = 0 and (
  m.since > '1970-01-01 00:00:00+00' and m.since < now() - interval '400 days'
  or m.run_id is not null and not exists (
    select from runs r where r.id = m.run_id and r.status in ('pending', 'running', 'waiting')
  ) and m.run_id < run_bound(now() - interval '1 day')
  or m.key like 'budget/%' and not exists (
    select from budgets b where b.organization_id = m.organization_id and b.id = split_part(m.key, '/', 2)::uuid
  )
)
"""
"""The last are those of budgets that were removed."""

GAUGE = """
insert into meters (organization_id, key, since, used) values ($1, $2, '1970-01-01 00:00:00+00', $3)
on conflict (organization_id, key, since) do update set used = excluded.used
  where meters.used = $4 and meters.held = 0
"""
"""Without effect where something was stored during the count, or is being stored: it may be counted already."""

METER = "select used from meters where organization_id = $1 and key = $2 and since = '1970-01-01 00:00:00+00'"

WITH_STORAGE_QUOTA = """
select o.id from organizations o left join quotas q on q.organization_id = o.id and q.metric = 'storage_bytes'
where case when q.organization_id is null then $1 else q.amount is not null end
"""
