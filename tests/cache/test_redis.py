"""Redis may forget scripts, refuse, fall silent or go: callers hear of it in one way only."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from pydantic import ValidationError

from agent_factory.cache.redis import Redis, Script
from agent_factory.cache.settings import RedisSettings
from agent_factory.kit.errors import Unavailable
from tests.doubles.redis_server import RedisServer

COUNT = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[RedisServer, None]:
    made = RedisServer(tmp_path)
    await made.start()
    yield made
    await made.kill()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncGenerator[Redis, None]:
    client = Redis(server.url)
    yield client
    await client.close()


async def test_a_script_runs_with_its_keys_and_arguments(redis: Redis) -> None:
    script = Script(COUNT)
    assert [await redis.run(script, [b"a"], [n]) for n in (1, 2, 3)] == [1, 3, 6]


async def test_a_script_that_redis_has_forgotten_is_sent_again(redis: Redis) -> None:
    script = Script(COUNT)
    script.sha = "0" * 40
    assert await redis.run(script, [b"a"], [1]) == 1


async def test_a_redis_that_was_started_anew_is_reached_at_once(redis: Redis, server: RedisServer) -> None:
    script = Script(COUNT)
    await asyncio.gather(*(redis.run(script, [b"a"], [1]) for _ in range(20)))
    await server.kill()
    await server.start()
    assert await redis.run(script, [b"a"], [1]) == 1


async def test_a_redis_that_is_gone_is_unavailable(redis: Redis, server: RedisServer) -> None:
    await server.kill()
    with pytest.raises(Unavailable) as gone:
        await redis.run(Script(COUNT), [b"a"], [1])
    assert gone.value.retryable


async def test_a_redis_that_refuses_is_unavailable(redis: Redis) -> None:
    with pytest.raises(Unavailable):
        await redis.run(Script("return redis.call('NOSUCH')"), [], [])


async def test_a_redis_that_falls_silent_is_unavailable() -> None:
    """It takes the connection, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = Redis(f"redis://127.0.0.1:{port}/0", RedisSettings(timeout=0.05, connect_timeout=0.05))
        try:
            async with asyncio.timeout(5):
                with pytest.raises(Unavailable):
                    await client.run(Script(COUNT), [b"a"], [1])
        finally:
            await client.close()


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", ""])
def test_what_is_no_address_of_a_redis_is_no_setting(url: str) -> None:
    with pytest.raises(ValidationError):
        RedisSettings(url=url)


def test_the_address_is_not_shown_with_the_settings_for_it_may_hold_a_password() -> None:
    assert "secret" not in repr(RedisSettings(url="redis://:secret@localhost"))
