"""Opens what limits requests in one process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

from agent_factory.cache.redis import Redis
from agent_factory.cache.settings import RedisSettings
from agent_factory.database.pool import Pool
from agent_factory.security.rate_limit.limiter import Limiter
from agent_factory.security.rate_limit.postgres import PostgresCounters, processes
from agent_factory.security.rate_limit.redis import RedisCounters
from agent_factory.security.rate_limit.settings import LimitsSettings
from agent_factory.security.rate_limit.uses import Uses


@asynccontextmanager
async def limiting(
    settings: LimitsSettings, redis: RedisSettings, pool: Pool, *, workers: int = 1
) -> AsyncGenerator[Limiter, None]:
    """Open a limiter that counts in Redis where there is one, else in PostgreSQL; waits for neither."""
    client = Redis(redis.url, redis) if redis.url else None
    limiter = Limiter(
        settings, RedisCounters(client, Uses(pool)) if client else PostgresCounters(pool), processes=workers
    )
    sweeping = asyncio.create_task(limiter.sweep_forever(partial(processes, pool)), name="rate limits sweep")
    try:
        yield limiter
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
        await limiter.close()
        if client:
            await client.close()
