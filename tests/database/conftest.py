"""Fixtures of the database's own tests."""

from collections.abc import AsyncGenerator

import asyncpg
import pytest

from agent_factory.database.embedded import Server


@pytest.fixture
async def poor_url(postgres: Server) -> AsyncGenerator[str]:
    """The URL of an empty database whose owner may make no roles."""
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE ROLE poor LOGIN PASSWORD 'poor'")
    await connection.execute("GRANT poor TO CURRENT_USER WITH SET TRUE")
    await connection.execute("CREATE DATABASE poor OWNER poor")
    try:
        yield f"postgresql://poor:poor@/poor?{postgres.url.partition('?')[2]}"
    finally:
        await connection.execute("DROP DATABASE poor")
        await connection.execute("DROP ROLE poor")
        await connection.close()
