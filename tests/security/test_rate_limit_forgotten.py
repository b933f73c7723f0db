"""Counters that come back empty, or old: what may have been used counts as used, so limits are never less."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest
from redis.asyncio import Redis as Client

from agent_factory.cache.redis import Redis
from agent_factory.cache.settings import RedisSettings
from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.database.session import Database
from agent_factory.kit.errors import Problem
from agent_factory.security.auth import Actor
from agent_factory.security.rate_limit import LimitsSettings, PostgresCounters, RedisCounters, limiting
from agent_factory.security.rate_limit.uses import Uses
from tests.doubles.redis_server import RedisServer
from tests.security.limits import Crowd, ask, at_once, only, someone

HOURLY = only(user="100/hour", processes=2)
"""So slow that nothing flows back while a test runs."""


@pytest.fixture
async def admin(redis: RedisServer) -> AsyncGenerator[Client, None]:
    """The operator's own connection to Redis."""
    client = Client(port=redis.port, decode_responses=True)
    yield client
    await client.aclose()


async def lets_in_by_a_new_process(
    fresh: Database, redis: RedisServer | None, actor: Actor, count: int, limits: LimitsSettings = HOURLY
) -> int:
    address = RedisSettings(url=redis.url if redis else None)
    async with limiting(limits, address, fresh.pool) as limiter:
        return await at_once(limiter, actor, count)


MANY = only(user="4000/hour", processes=2)


async def test_redis_emptied_again_and_again_never_gives_more_than_the_limit(
    crowd: Crowd, redis: RedisServer, admin: Client
) -> None:
    """FLUSHALL in the middle of what two processes ask: each burst before it counts after it."""

    async def meanwhile() -> None:
        for _ in range(40):
            await asyncio.sleep(0.01)
            await admin.flushall()

    began = time.monotonic()
    admitted = await crowd(20, 200, redis.url, MANY, meanwhile)
    assert 0 < sum(admitted) <= 4000 + (time.monotonic() - began) * 4000 / 3600 + 1


async def test_redis_killed_and_started_empty_under_two_processes_never_gives_more_than_the_limit(
    crowd: Crowd, redis: RedisServer, admin: Client
) -> None:
    async def meanwhile() -> None:
        while not await admin.dbsize():  # noqa: ASYNC110 - nothing tells when they begin
            await asyncio.sleep(0.001)
        for _ in range(3):
            await redis.kill()
            await redis.start()
            await asyncio.sleep(0.2)

    began = time.monotonic()
    admitted = await crowd(5, 20_000, redis.url, MANY, meanwhile)
    assert 0 < sum(admitted) <= 4000 + (time.monotonic() - began) * 4000 / 3600 + 1


async def test_what_each_process_used_counts_although_no_other_saw_it(fresh: Database, redis: RedisServer) -> None:
    """One knows of 40, the other of 60; Redis comes back, and neither gets the 60 that the first would ask for."""
    address = RedisSettings(url=redis.url)
    async with limiting(HOURLY, address, fresh.pool) as one, limiting(HOURLY, address, fresh.pool) as other:
        actor = someone()
        assert await at_once(one, actor, 40) == 40
        assert await at_once(other, actor, 20) == 20
        await redis.kill()
        assert await at_once(one, actor, 100) + await at_once(other, actor, 100) == 0
        assert one.supply.alone
        assert other.supply.alone
        await redis.start()
        async with asyncio.timeout(20):
            while one.supply.alone or other.supply.alone:  # noqa: ASYNC110 - a limiter has no event
                await asyncio.sleep(0.05)
        assert await at_once(one, actor, 100) + await at_once(other, actor, 100) == 0


async def test_redis_started_anew_between_two_requests_costs_the_burst_and_is_not_gone(
    fresh: Database, redis: RedisServer
) -> None:
    async with limiting(HOURLY, RedisSettings(url=redis.url), fresh.pool) as limiter:
        actor = someone()
        assert await at_once(limiter, actor, 60) == 60
        await redis.kill()
        await redis.start()
        assert await at_once(limiter, actor, 100) == 0
        assert not limiter.supply.alone


async def test_a_redis_that_was_emptied_gives_what_flows_back(
    fresh: Database, redis: RedisServer, admin: Client
) -> None:
    async with limiting(only(user="40/second"), RedisSettings(url=redis.url), fresh.pool) as limiter:
        actor = someone()
        assert await at_once(limiter, actor, 40) >= 40
        began = time.monotonic()
        await admin.flushall()
        admitted = 0
        while (seconds := time.monotonic() - began) < 2:
            admitted += await at_once(limiter, actor, 5)
            assert admitted <= (time.monotonic() - began) * 40 + 1
            await asyncio.sleep(0.01)
        assert admitted >= seconds * 40 * 0.5


@pytest.mark.parametrize("where", ["postgres", "redis"])
async def test_limits_that_nobody_has_used_are_whole(fresh: Database, redis: RedisServer, where: str) -> None:
    """The first start of all is no loss; nor is one long after the last process was gone."""
    server = redis if where == "redis" else None
    assert await lets_in_by_a_new_process(fresh, server, someone(), 200) == 100
    await fresh.pool.execute("delete from rate_counters")
    await redis.kill()
    await redis.start()
    await fresh.pool.execute("update rate_uses set used_at = now() - interval '2 hours'")
    assert await lets_in_by_a_new_process(fresh, server, someone(), 200) == 100


@pytest.mark.parametrize("where", ["postgres", "redis"])
async def test_a_process_that_starts_with_empty_counters_goes_by_when_others_used_them(
    fresh: Database, redis: RedisServer, admin: Client, where: str
) -> None:
    """All that remembered is gone at once: the counters and the processes."""
    server = redis if where == "redis" else None
    actor = someone()
    assert await lets_in_by_a_new_process(fresh, server, actor, 80) == 80
    assert await lets_in_by_a_new_process(fresh, server, actor, 80) == 20
    await admin.flushall()
    await fresh.pool.execute("delete from rate_counters")
    for _ in range(2):
        assert await lets_in_by_a_new_process(fresh, server, actor, 80) == 0
    await fresh.pool.execute("update rate_uses set used_at = now() - interval '32 minutes'")
    await admin.flushall()
    await fresh.pool.execute("delete from rate_counters")
    assert 45 <= await lets_in_by_a_new_process(fresh, server, actor, 80) <= 50  # half an hour has flowed back


async def test_a_redis_that_comes_back_with_what_it_saved_some_time_ago_is_not_believed(
    fresh: Database, redis: RedisServer, admin: Client
) -> None:
    actor = someone()
    assert await lets_in_by_a_new_process(fresh, redis, actor, 40) == 40
    await admin.save()
    assert await lets_in_by_a_new_process(fresh, redis, actor, 60) == 60
    await redis.kill()
    await redis.start()
    assert await admin.dbsize(), "it was to load what it had saved"
    assert await lets_in_by_a_new_process(fresh, redis, actor, 60) == 0


async def test_a_redis_that_tells_nothing_about_itself_counts_all_the_same(
    fresh: Database, redis: RedisServer, admin: Client
) -> None:
    """Operators may forbid INFO; then what was saved some time ago cannot be told from what is."""
    await admin.execute_command("ACL", "SETUSER", "default", "-info")
    actor = someone()
    assert await lets_in_by_a_new_process(fresh, redis, actor, 80) == 80
    assert await lets_in_by_a_new_process(fresh, redis, actor, 80) == 20
    await admin.flushall()
    assert await lets_in_by_a_new_process(fresh, redis, actor, 80) == 0


@pytest.mark.timeout(60)
async def test_postgresql_that_crashed_has_lost_its_counters_and_gives_no_second_burst(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """They are in an unlogged table, which is empty after a crash."""
    folder = tmp_path_factory.mktemp("crash")
    await asyncio.to_thread(folder.chmod, 0o711)  # PostgreSQL may run as another user
    server = Server(folder / "postgres")
    url = await server.start()
    try:
        await migrate(url)
        database = Database(url)
        actor = someone()
        async with limiting(HOURLY, RedisSettings(), database.pool) as limiter:
            assert await at_once(limiter, actor, 60) == 60
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            async with asyncio.timeout(30):
                while await _rows(database) is None:  # noqa: ASYNC110 - nothing tells when it is back
                    await asyncio.sleep(0.05)
            assert await _rows(database) == 0
            assert await at_once(limiter, actor, 60) == 0
        assert await lets_in_by_a_new_process(database, None, actor, 60) == 0
        await database.close()
    finally:
        await server.stop()


async def _rows(database: Database) -> int | None:
    try:
        return await database.pool.fetchval("select count(*) from rate_counters")
    except Problem:
        return None


# Clocks that are set back


async def test_postgresqls_clock_set_back_keeps_nobody_out_for_long(fresh: Database) -> None:
    counters = PostgresCounters(fresh.pool)
    key = uuid4().bytes
    await counters.take([ask(key, 1, count=10, span=60)])
    await fresh.pool.execute("update rate_counters set whole_at = whole_at + 1e6 where key = $1", key)
    assert (await counters.take([ask(key, 1, count=10, span=60)]))[0].lead <= 121
    await fresh.pool.execute("update rate_counters set span = whole_at + 1e6 where key = $1", b"since")
    assert (await counters.take([ask(uuid4().bytes, 1, count=10, span=1)]))[0].units == 0
    await counters.sweep()
    since = await fresh.pool.fetchval("select span - rate_now() from rate_counters where key = $1", b"since")
    assert -10 < since <= 0


async def test_the_clock_of_redis_set_back_keeps_nobody_out_for_long(
    fresh: Database, redis: RedisServer, admin: Client
) -> None:
    client = Redis(redis.url)
    counters = RedisCounters(client, Uses(fresh.pool))
    key = uuid4().bytes
    try:
        await counters.take([ask(key, 1, count=10, span=60)])
        ahead = (await admin.time())[0] + 1e6
        await admin.set(b"{af-limits}:" + key, ahead)
        assert (await counters.take([ask(key, 1, count=10, span=60)]))[0].units == 0
        assert float(str(await admin.get(b"{af-limits}:" + key))) < ahead - 1e6 + 70
        run = str(await admin.get("{af-limits}:since")).split()[0]
        await admin.set("{af-limits}:since", f"{run} {ahead}")
        assert (await counters.take([ask(uuid4().bytes, 1, count=10, span=60)]))[0].units == 0
        assert float(str(await admin.get("{af-limits}:since")).split()[1]) < ahead - 1e6 + 10
    finally:
        await client.close()
