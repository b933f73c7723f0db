"""Partitions of runs: made ahead, and dropped once they are old (S158)."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem
from agent_factory.storage.store import Item

log = structlog.stdlib.get_logger(__name__)

_AHEAD = 2
"""Months beyond this one that have a partition."""

_PAUSE = 3600.0
"""Seconds between looks."""

_LEFT_OVER = (
    "delete from run_waits w where w.run_id < run_bound($1) and not exists (select from runs r where r.id = w.run_id)",
    "delete from approvals a where a.run_id < run_bound($1) and not exists (select from runs r where r.id = a.run_id)",
    "delete from events where id < run_bound($1) and handled_at is not null",
    "delete from trigger_ticks where created_at < $1",
    # A snapshot is in use as long as there is a run that has pinned it.
    """
    delete from run_snapshots s where $1::timestamptz is not null and not exists (
      select from runs r where r.organization_id = s.organization_id and r.snapshot = s.digest)
    """,
)


_ORGANIZATIONS = "select id from organizations order by id"

_REFERENCES = """
select distinct (regexp_matches(v.text, '"\\$payload": ?"([^"]+)"', 'g'))[1] as digest
from runs r
left join run_steps s on s.run_id = r.id
cross join lateral (values (s.output::text), (s.input::text), (r.output::text), (r.input::text)) as v(text)
where r.organization_id = $1 and (r.id < run_bound($2) or r.forked_from is not null) and v.text like '%$payload%'
"""
"""Large values of runs that may have been stored before the oldest month that is kept: of those that outlive theirs,
and of forks, which share what was stored for others. All other runs have stored what they name themselves."""

_MARGIN = timedelta(days=1)
"""A value that is stored again soon keeps its old age; this is longer than that."""

_IN_VALUES = re.compile(rb'"\$payload": ?"([0-9a-f]{64})"')


class Values(Protocol):
    """The store of large values, as `storage.store.Store` has it."""

    def items(self, organization_id: str) -> AsyncGenerator[Item, None]:
        """List an organisation's values."""
        ...

    async def get(self, organization_id: str, digest: str) -> bytes:
        """Return a value."""
        ...

    async def delete(self, organization_id: str, digests: Sequence[str]) -> None:
        """Delete values."""
        ...


class Retention:
    """Keeps the partitions of one database in step with time; every process may have one.

    There is a partition for what is started now even where this has not run
    for long: the default one takes what no other does, and gives it up when its
    month gets a partition. Runs are kept `days`, 0 for ever, counted from the
    end of the month in which they began; one that has not ended stays. With
    the runs go their large values in `store`.
    """

    def __init__(self, database: Database, days: int, store: Values | None = None) -> None:
        """Remember the database; nothing is connected yet."""
        self._pool = database.pool
        self._days = days
        self._store = store

    async def keep_forever(self) -> None:
        """Look once an hour, until cancelled."""
        while True:
            try:
                await self.keep()
            except Problem as problem:
                log.info("partitions could not be looked after; that is tried again", reason=problem.detail)
                await asyncio.sleep(min(_PAUSE, 30.0))
                continue
            except Exception:
                log.exception("partitions could not be looked after; that is tried again")
            await asyncio.sleep(_PAUSE)

    async def keep(self) -> int:
        """Make the partitions of the coming months, drop those that are too old, and give the number of the dropped."""
        await self._pool.fetchval("select make_run_partitions(now(), $1)", _AHEAD)
        if not self._days:
            return 0
        before = now() - timedelta(days=self._days)
        dropped = await self._pool.fetchval("select drop_run_partitions($1)", before)
        if dropped:
            log.info("runs were dropped that are older than runs are kept", months=dropped)
            for statement in _LEFT_OVER:
                await self._pool.execute(statement, before)
            if self._store is not None:
                await self._sweep(self._store, before.replace(day=1, hour=0, minute=0, second=0, microsecond=0))
        return dropped

    async def _sweep(self, store: Values, month: datetime) -> None:
        """Delete the large values that no run names any more."""
        for row in await self._pool.fetch(_ORGANIZATIONS, again=True):
            organization_id = str(row["id"])
            kept = {one["digest"] for one in await self._pool.fetch(_REFERENCES, row["id"], month, again=True)}
            todo = list(kept)
            while todo:  # lists hold references themselves
                with suppress(Problem):
                    inner = set(_IN_VALUES.findall(await store.get(organization_id, todo.pop())))
                    fresh = {digest.decode() for digest in inner} - kept
                    kept |= fresh
                    todo += fresh
            doomed = [
                item.digest
                async for item in store.items(organization_id)
                if item.changed_at < month - _MARGIN and item.digest not in kept
            ]
            await store.delete(organization_id, doomed)
