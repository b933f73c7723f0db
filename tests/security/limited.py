"""A process that asks its limiter many times at once: told how by stdin, tells on stdout how often it was let in."""

import asyncio
import sys
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.cache.settings import RedisSettings
from agent_factory.database.session import Database
from agent_factory.security.auth import Actor
from agent_factory.security.rate_limit import LimitsSettings, RateLimited, limiting


async def main() -> None:
    told: dict[str, Any] = msgspec.json.decode(sys.stdin.readline())
    database = Database(told["database"])
    settings = LimitsSettings.model_validate(told["limits"])
    actor = Actor(organization_id=UUID(int=1), user_id=UUID(told["user"]), role="viewer")
    admitted = 0
    async with limiting(settings, RedisSettings(url=told["redis"]), database.pool) as limiter:

        async def ask() -> None:
            nonlocal admitted
            try:
                await limiter.standing(actor, "192.0.2.1", "/api/v1/agents").admit()
            except RateLimited:
                return
            admitted += 1

        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        for _ in range(told["rounds"]):
            await asyncio.gather(*(ask() for _ in range(told["hits"])))
    await database.close()
    sys.stdout.write(f"{admitted}\n")


if __name__ == "__main__":
    asyncio.run(main())
