"""Partitions of runs: made ahead, and dropped once they are old (S158)."""

import asyncio
from datetime import timedelta

import structlog

from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem

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


class Retention:
    """Keeps the partitions of one database in step with time; every process may have one.

    There is a partition for what is started now even where this has not run
    for long: the default one takes what no other does, and gives it up when its
    month gets a partition. Runs are kept `days`, 0 for ever, counted from the
    end of the month in which they began; one that has not ended stays.
    """

    def __init__(self, database: Database, days: int) -> None:
        """Remember the database; nothing is connected yet."""
        self._pool = database.pool
        self._days = days

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
        return dropped
