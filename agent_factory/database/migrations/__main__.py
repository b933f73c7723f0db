"""Write the next revision from what the models say: `python -m agent_factory.database.migrations "what changes"`."""

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from agent_factory.database.driver import connector
from agent_factory.database.embedded import Server
from agent_factory.database.migrations import configuration, head, migrate
from agent_factory.database.settings import DatabaseSettings


async def revise(words: str) -> None:
    """Compare the models with a fresh database at the head, and write the difference as the next number."""

    def write(connection: Connection) -> None:
        number = f"{int(head()) + 1:04}"
        command.revision(configuration(connection), words, autogenerate=True, rev_id=number)

    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "postgres", {"fsync": "off"})
        try:
            url = await server.start()
            await migrate(url)
            connect = connector(url, None, DatabaseSettings())
            engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
            async with engine.connect() as connection:
                await connection.run_sync(write)
        finally:
            await server.stop()


asyncio.run(revise(" ".join(sys.argv[1:]) or "changes"))
