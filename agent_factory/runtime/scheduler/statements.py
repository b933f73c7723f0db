"""The SQL of the scheduler. Times come from the process's clock, which tests set."""

CLAIM = """
select id, organization_id, workflow_id, created_by, key_id, config::text as config, timezone, misfire, next_at
from triggers
where enabled and type = 'cron' and next_at <= $1
order by next_at limit $2
for no key update skip locked
"""

RECORD = """
insert into trigger_ticks (organization_id, trigger_id, tick_at, run_id, created_at)
select t.organization_id, t.trigger_id, t.tick_at, t.run_id, $5
from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[]) as t(organization_id, trigger_id, tick_at, run_id)
on conflict (trigger_id, tick_at) do nothing
"""

MOVE = """
update triggers set next_at = m.next_at, last_at = coalesce(m.last_at, triggers.last_at)
from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as m(id, next_at, last_at)
where triggers.id = m.id
"""

NEXT = "select min(next_at) from triggers where enabled and next_at is not null"
