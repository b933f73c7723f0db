"""The measurement of waiting runs, in its shortest form."""

import asyncio

from agent_factory.database.session import Database
from bench.waiting import WAITING, fill, restart


async def test_runs_wait_and_a_process_that_starts_over_them_works(fresh_database_url: str) -> None:
    assert await fill(fresh_database_url, 20) > 0
    seconds, megabytes = await asyncio.to_thread(restart, fresh_database_url, 0.0)
    assert seconds > 0
    assert megabytes > 0
    database = Database(fresh_database_url)
    assert await database.pool.fetchval(WAITING) == 20
    await database.close()
