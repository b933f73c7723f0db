"""Counters in PostgreSQL: one statement for all that a process asks at a time, by the server's clock."""

from collections.abc import Sequence

from agent_factory.database.driver import Row
from agent_factory.database.pool import Pool
from agent_factory.security.rate_limit.counters import Ask
from agent_factory.security.rate_limit.rules import Grant
from agent_factory.security.rate_limit.uses import Uses

_TAKE = """
insert into rate_counters as c (key, whole_at, units, need, extra, tick, span)
select a.key, rate_now() + a.lead + u.units * a.tick, u.units, a.need, a.extra, a.tick, a.span
from (select since.span as at from rate_counters since where since.key = $7) m
cross join lateral
     (select key, greatest(lead, least(span, span - (rate_now() - m.at))) as lead, need, extra, tick, span
      from unnest($1::bytea[], $2::float8[], $3::int[], $4::int[], $5::float8[], $6::float8[])
           as asked (key, lead, need, extra, tick, span)) a
cross join lateral (select rate_units(a.lead, a.need, a.extra, a.tick, a.span) as units) u
order by a.key
on conflict (key) do update set (whole_at, units, need, extra, tick, span) = (
  select greatest(rate_now() + b.lead + u.units * excluded.tick,
                  least(c.whole_at, rate_now() + excluded.span + 60)), u.units,
         excluded.need, excluded.extra, excluded.tick, excluded.span
  from (select greatest(least(c.whole_at - rate_now(), excluded.span),
                        excluded.whole_at - excluded.units * excluded.tick - rate_now(), 0) as lead) b
  cross join lateral
       (select rate_units(b.lead, excluded.need, excluded.extra, excluded.tick, excluded.span) as units) u
)
returning key, units, whole_at - rate_now() as lead
"""
# The row $7 holds, as its span, the moment since which all is remembered: the table is unlogged, so a crash empties it.
# What was used before that counts as used up at that moment; without the row nothing is given. A new counter's row is
# what is excluded where the counter exists, so its moment less its units tells the lead that was asked with. Rows are
# locked in the order of their keys, so that no two statements wait for each other. One that began earlier and had to
# wait may find a moment beyond its own period, and leaves it; only what is a minute beyond, left behind by a clock that
# was set back, is brought in.

_BEGIN = """
insert into rate_counters (key, whole_at, units, need, extra, tick, span)
values ($1, 'infinity', 0, 0, 0, 0, rate_now() - $2) on conflict (key) do nothing
"""
_AMEND = "update rate_counters set span = rate_now() where key = $1 and span > rate_now()"
"""For a moment that lies ahead was written before the clock was set back."""
_SINCE = b"since"
"""No digest, so no counter's key."""

_SWEEP = """
delete from rate_counters where key in (
  select key from rate_counters where whole_at < rate_now() limit $1 for update skip locked
)
"""
_SWEPT = 10_000

_PROCESSES = "select count(*) from processes where beat_at > now() - interval '1 minute'"


async def processes(pool: Pool) -> int:
    """Count the processes of the product that live."""
    return int(await pool.fetchval(_PROCESSES, again=True))


class PostgresCounters:
    """Counters in the table `rate_counters`."""

    def __init__(self, pool: Pool) -> None:
        """Count by way of this pool."""
        self._pool = pool
        self._uses = Uses(pool)

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """Give what the counters have."""
        rows = await self._rows(asks)
        if asks and not rows:
            await self._pool.execute(_BEGIN, _SINCE, await self._uses.ago(), again=True)
            rows = await self._rows(asks)
        if not self._uses.noted:
            # Not before the counters know since when they remember: others that find them empty go by this note.
            await self._uses.note()
        found = {row["key"]: Grant(row["units"], row["lead"]) for row in rows}
        return [found[a.key] for a in asks]

    async def _rows(self, asks: Sequence[Ask]) -> Sequence[Row]:
        return await self._pool.fetch(
            _TAKE,
            [a.key for a in asks],
            [a.lead for a in asks],
            [a.need for a in asks],
            [a.extra for a in asks],
            [a.tick for a in asks],
            [a.span for a in asks],
            _SINCE,
            again=True,  # the worst that comes of it is a unit less
        )

    async def sweep(self) -> None:
        """Delete the rows of counters that are whole again, and note that limits are in use."""
        if self._uses.noted:
            await self._uses.note()
        await self._pool.execute(_AMEND, _SINCE)
        while await self._pool.execute(_SWEEP, _SWEPT) == f"DELETE {_SWEPT}":
            pass
