"""Months of runs: each has a place from the beginning, and goes as a whole when it is old (S158)."""

import asyncio
import os
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.runtime.queue.retention import Retention
from agent_factory.security.auth import Actor
from agent_factory.storage.settings import StorageSettings
from agent_factory.storage.store import Store


def made_at(moment: datetime, number: int = 0) -> UUID:
    """Make the id of a run that began at a moment."""
    return UUID(int=int(moment.timestamp() * 1000) << 80 | 0x7 << 76 | 0b10 << 62 | number)


async def keep_run(database: Database, actor: Actor, moment: datetime, status: str = "completed") -> UUID:
    """Write an old run with all that belongs to one."""
    run_id = made_at(moment)
    snapshot = f"of {moment:%Y-%m-%d}"
    pool = database.pool
    await pool.execute(
        "insert into run_snapshots (organization_id, digest, definition) values ($1, $2, '{}') on conflict do nothing",
        actor.organization_id,
        snapshot,
    )
    await pool.execute(
        "insert into runs (id, organization_id, kind, status, snapshot, created_at) "
        "values ($1, $2, 'workflow', $3, $4, $5)",
        run_id,
        actor.organization_id,
        status,
        snapshot,
        moment,
    )
    await pool.execute(
        "insert into run_steps (organization_id, run_id, path, ord, kind, name) values ($1, $2, 'a', 1, 'task', 'x')",
        actor.organization_id,
        run_id,
    )
    await pool.execute(
        "insert into run_waits (organization_id, run_id, path, kind) values ($1, $2, 'a', 'timer')",
        actor.organization_id,
        run_id,
    )
    await pool.execute(
        "insert into approvals (id, organization_id, run_id, path) values (gen_random_uuid(), $1, $2, 'a')",
        actor.organization_id,
        run_id,
    )
    return run_id


async def left(database: Database, run_id: UUID) -> dict[str, int]:
    """Count what is left of a run."""
    return {
        table: await database.pool.fetchval(f"select count(*) from {table} where {column} = $1", run_id)  # noqa: S608 - our own names
        for table, column in (("runs", "id"), ("run_steps", "run_id"), ("run_waits", "run_id"), ("approvals", "run_id"))
    }


NOTHING = {"runs": 0, "run_steps": 0, "run_waits": 0, "approvals": 0}
ALL = {"runs": 1, "run_steps": 1, "run_waits": 1, "approvals": 1}


@pytest.fixture
async def old(fresh_database_url: str) -> AsyncGenerator[Database, None]:
    """A database that has been running for months."""
    opened = Database(fresh_database_url)
    await opened.pool.fetchval("select make_run_partitions(now() - interval '8 months', 2)")
    yield opened
    await opened.close()


async def partitions(database: Database) -> list[str]:
    rows = await database.pool.fetch(
        "select c.relname::text as name from pg_class c join pg_inherits i on i.inhrelid = c.oid "
        "where i.inhparent = 'runs'::regclass order by 1"
    )
    return [row["name"] for row in rows]


async def where(database: Database, run_id: UUID) -> str:
    return await database.pool.fetchval("select tableoid::regclass::text from runs where id = $1", run_id)


def month(moment: datetime) -> str:
    return f"runs_{moment:%Y_%m}"


async def test_this_month_and_the_next_two_have_a_place(fresh_database_url: str) -> None:
    database = Database(fresh_database_url)
    try:
        first = now().replace(day=1)
        after = [first, first + timedelta(days=32), first + timedelta(days=63)]
        expected = [month(one.replace(day=1)) for one in after]
        assert (await partitions(database))[:3] == expected
        await Retention(database, 90).keep()
        assert await partitions(database) == [*expected, "runs_default"]
    finally:
        await database.close()


async def test_a_run_lies_in_the_month_in_which_it_began(old: Database, actor: Actor) -> None:
    edge = datetime(now().year, now().month, 1, tzinfo=UTC)
    before, after = edge - timedelta(milliseconds=1), edge
    assert await where(old, await keep_run(old, actor, before)) == month(before)
    assert await where(old, await keep_run(old, actor, after)) == month(after)


async def test_a_run_finds_a_place_although_nobody_has_made_its_month(old: Database, actor: Actor) -> None:
    """As after a year in which no process ran: the default partition takes it, and gives it up later."""
    far = now() + timedelta(days=100)
    run_id = await keep_run(old, actor, far)
    assert await where(old, run_id) == "runs_default"
    await old.pool.fetchval("select make_run_partitions(now(), 5)")
    assert await where(old, run_id) == month(far)
    assert await left(old, run_id) == ALL


async def test_old_months_go_with_all_that_belonged_to_their_runs(old: Database, actor: Actor) -> None:
    gone = await keep_run(old, actor, now() - timedelta(days=160))
    kept = await keep_run(old, actor, now() - timedelta(days=60))
    fresh = await keep_run(old, actor, now())
    assert await Retention(old, 90).keep() > 0
    assert await left(old, gone) == NOTHING
    assert await left(old, kept) == ALL
    assert await left(old, fresh) == ALL
    assert month(now() - timedelta(days=160)) not in await partitions(old)
    snapshots = await old.pool.fetch("select digest from run_snapshots order by 1")
    assert [row["digest"] for row in snapshots] == sorted(
        f"of {moment:%Y-%m-%d}" for moment in (now() - timedelta(days=60), now())
    )


async def test_a_month_is_kept_until_its_last_day_is_old_enough(old: Database, actor: Actor) -> None:
    first = (now() - timedelta(days=90)).replace(day=1)
    run_id = await keep_run(old, actor, first)
    await Retention(old, 90).keep()
    assert await left(old, run_id) == ALL


@pytest.mark.parametrize("status", ["pending", "running", "waiting"])
async def test_a_run_that_has_not_ended_outlives_its_month(old: Database, actor: Actor, status: str) -> None:
    moment = now() - timedelta(days=160)
    alive = await keep_run(old, actor, moment, status)
    ended = await keep_run(old, actor, moment + timedelta(hours=1))
    await Retention(old, 90).keep()
    assert await left(old, alive) == ALL
    assert (await left(old, ended))["runs"] == 0
    await old.pool.execute("update runs set status = 'completed' where id = $1", alive)
    await Retention(old, 90).keep()
    assert await left(old, alive) == NOTHING


async def test_runs_from_before_the_first_month_go_too(old: Database, actor: Actor) -> None:
    ancient = await keep_run(old, actor, now() - timedelta(days=900))
    assert await where(old, ancient) == "runs_default"
    await keep_run(old, actor, now() - timedelta(days=160))
    await Retention(old, 90).keep()
    assert await left(old, ancient) == NOTHING


async def test_with_nought_everything_is_kept(old: Database, actor: Actor) -> None:
    run_id = await keep_run(old, actor, now() - timedelta(days=200))
    before = await partitions(old)
    assert await Retention(old, 0).keep() == 0
    assert await left(old, run_id) == ALL
    assert await partitions(old) == before


async def test_two_processes_that_keep_house_at_once_do_not_disturb_each_other(old: Database, actor: Actor) -> None:
    gone = await keep_run(old, actor, now() - timedelta(days=160))
    other = Database(old.url)
    try:
        dropped = await asyncio.gather(Retention(old, 90).keep(), Retention(other, 90).keep())
    finally:
        await other.close()
    assert min(dropped) == 0
    assert await left(old, gone) == NOTHING


async def test_a_request_can_neither_make_nor_drop_partitions(old: Database, actor: Actor) -> None:
    for statement in (
        "select drop_run_partitions(now())",
        "select make_run_partitions(now(), 9)",
        "table runs_default",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with old.read(actor.organization_id) as session:
                await session.execute(text(statement))


PREPARED = """
prepare settled(uuid[], int[]) as
update runs set output = '{}' from unnest($1, $2) as b(id, epoch) where runs.id = b.id and runs.epoch = b.epoch
"""


async def test_a_statement_about_a_run_looks_into_its_month_only(old: Database, actor: Actor) -> None:
    """The plan is made once for all runs, and leaves months out when it is executed."""
    run_id = await keep_run(old, actor, now())
    async with old.pool.transaction() as connection:
        await connection.execute("set local enable_seqscan = off")
        await connection.execute(PREPARED)
        rows = await connection.fetch(
            f"explain (analyze, costs off, timing off, summary off) execute settled('{{{run_id}}}'::uuid[], array[0])"
        )
        await connection.execute("deallocate settled")
    plan = [str(row[0]) for row in rows]
    scans = [line for line in plan if " Scan" in line and "runs_" in line]
    assert len(scans) > 8
    assert len([line for line in scans if "never executed" not in line]) == 1, plan


def age(folder: Path, digests: set[str]) -> None:
    past = (now() - timedelta(days=160)).timestamp()
    for path in folder.rglob("*"):
        if path.name in digests:
            os.utime(path, (past, past))


async def test_large_values_go_with_the_last_run_that_names_them(old: Database, actor: Actor, tmp_path: Path) -> None:
    """But not those of runs that go on, of forks, and what lies behind a list of either."""
    store = Store(StorageSettings(sync=False), tmp_path)
    own = str(actor.organization_id)
    inner, alone, fresh = [await store.put(own, text) for text in (b'"inner"', b'"alone"', b'"fresh"')]
    listed = await store.put(own, f'[{{"$payload": "{inner}", "bytes": 7}}]'.encode())
    forked = await store.put(own, b'"forked"')
    age(tmp_path, {inner, alone, listed, forked})
    await old.pool.execute("insert into organizations (id, name) values ($1, 'o')", actor.organization_id)
    alive = await keep_run(old, actor, now() - timedelta(days=160), "waiting")
    fork = await keep_run(old, actor, now())
    await keep_run(old, actor, now() - timedelta(days=200))
    await old.pool.execute("update runs set forked_from = id where id = $1", fork)
    for run_id, digest in ((alive, listed), (fork, forked)):
        output = f'{{"stored": true, "output": {{"$payload": "{digest}", "bytes": 9}}}}'
        await old.pool.execute("update run_steps set output = $2::text::jsonb where run_id = $1", run_id, output)
    await Retention(old, 90, store).keep()
    assert {item.digest async for item in store.items(own)} == {inner, listed, forked, fresh}
