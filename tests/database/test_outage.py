"""PostgreSQL goes away and comes back: callers get one clear error, and then it works again."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from agent_factory.database.driver import Connection, Row
from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.database.models import OrganizationRow
from agent_factory.database.session import Database
from agent_factory.kit.errors import Problem, Unavailable
from agent_factory.kit.ids import uuid7

ORGANIZATION = uuid7()


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    """A server of the test's own, to stop and start."""
    with tempfile.TemporaryDirectory(prefix="af-test-") as folder:
        made = Server(Path(folder) / "postgres", {"fsync": "off"})
        await migrate(await made.start())
        yield made
        await made.stop()


@pytest.fixture
async def database(server: Server) -> AsyncGenerator[Database]:
    made = Database(server.url)
    yield made
    await made.close()


async def by_pool(database: Database) -> None:
    assert await database.pool.fetchval("SELECT 1") == 1


async def by_reading(database: Database) -> None:
    async with database.read(ORGANIZATION) as session:
        assert await session.scalar(text("SELECT 1")) == 1


async def by_writing(database: Database) -> None:
    async with database.write(ORGANIZATION) as session:
        assert await session.scalar(text("SELECT 1")) == 1


async def by_the_system(database: Database) -> None:
    async with database.system() as session:
        assert await session.scalar(text("SELECT 1")) == 1


async def by_ping(database: Database) -> None:
    await database.ping()


WAYS = pytest.mark.parametrize("way", [by_pool, by_reading, by_writing, by_the_system, by_ping])
Way = Callable[[Database], Coroutine[Any, Any, None]]


@WAYS
async def test_while_it_is_away_every_way_says_so_and_afterwards_works(
    server: Server, database: Database, way: Way
) -> None:
    await way(database)
    await server.stop()
    for _ in range(3):
        with pytest.raises(Unavailable, match="try again"):
            await way(database)
    await server.start()
    await way(database)


@WAYS
async def test_a_process_can_start_before_it(server: Server, way: Way) -> None:
    url = server.url
    await server.stop()
    database = Database(url)
    try:
        with pytest.raises(Unavailable):
            await way(database)
        await server.start()
        await way(database)
    finally:
        await database.close()


@WAYS
async def test_stale_connections_cost_no_error(server: Server, database: Database, way: Way) -> None:
    """Each way has pooled connections of the old server; the first call after the restart succeeds."""
    await asyncio.gather(*(way(database) for _ in range(5)))
    await server.stop()
    await server.start()
    await asyncio.gather(*(way(database) for _ in range(5)))


async def test_what_was_under_way_fails_clearly_and_leaves_nothing(server: Server, database: Database) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with database.system() as session:
            session.add(OrganizationRow(id=ORGANIZATION, name="half"))
            await session.flush()
            begun.set()
            await session.execute(text("SELECT pg_sleep(60)"))

    task = asyncio.create_task(work())
    await begun.wait()
    await server.stop()
    with pytest.raises(Unavailable):
        await task
    await server.start()
    assert await database.pool.fetchval("SELECT count(*) FROM organizations") == 0


async def test_a_lost_statement_is_repeated_only_where_that_does_no_harm(server: Server, database: Database) -> None:
    """The server ends the connection under the statement; the one that may run twice then succeeds."""
    nap = "SELECT /* nap */ pg_sleep($1)"
    seconds = iter([30.0, 0.0])
    tried: list[float] = []

    def statement(connection: Connection) -> Coroutine[Any, Any, list[Row]]:
        tried.append(next(seconds))
        return connection.fetch(nap, tried[-1])

    watcher = await asyncpg.connect(server.url)
    try:
        fragile = asyncio.create_task(database.pool.fetch(nap, 30.0))
        await kill_the_nap(watcher)
        with pytest.raises(Unavailable):
            await fragile
        sturdy = asyncio.create_task(database.pool._run(statement, again=True))
        await kill_the_nap(watcher)
        await sturdy
    finally:
        await watcher.close()
    assert tried == [30.0, 0.0]


async def kill_the_nap(watcher: asyncpg.Connection) -> None:
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE starts_with(query, 'SELECT /* nap') AND state = 'active'"
    )
    while not await watcher.fetchval(kill):  # noqa: ASYNC110 - only the server knows
        await asyncio.sleep(0.01)


async def test_listeners_hear_again_after_a_gap_and_are_told_of_it(server: Server, database: Database) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await database.listen("news", heard.put_nowait)
    await database.pool.execute("SELECT pg_notify('news', 'before')")
    assert await heard.get() == "before"
    await server.stop()
    await server.start()
    assert await heard.get() == ""
    await database.pool.execute("SELECT pg_notify('news', 'after')")
    assert await heard.get() == "after"


async def test_listening_can_begin_while_it_is_away(server: Server) -> None:
    url = server.url
    await server.stop()
    database = Database(url)
    try:
        heard: asyncio.Queue[str] = asyncio.Queue()
        await database.listen("news", heard.put_nowait)
        await server.start()
        assert await heard.get() == ""
        await database.pool.execute("SELECT pg_notify('news', 'after')")
        assert await heard.get() == "after"
    finally:
        await database.close()


async def test_the_sentence_names_no_path_and_no_secret(server: Server, database: Database) -> None:
    url = server.url
    await server.stop()
    with pytest.raises(Problem) as away:
        await database.ping()
    said = away.value.detail
    assert away.value.retryable
    assert away.value.retry_after == 1
    assert "/" not in said
    assert url.split(":")[2].split("@")[0] not in said
