"""A process that purges and waits after each batch for a line: `python purging.py URL FOLDER`."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from agent_factory.database import purge
from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.purging import Purge
from agent_factory.storage.settings import StorageSettings
from agent_factory.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]


def purge_of(database: Database, folder: Path, *, days: int = 30) -> Purge:
    """Open the purge of a database, its values and files in a folder."""
    store = Store(StorageSettings(), folder / "objects")
    return Purge(database, store, folder / "files", timedelta(days=days))


async def stepwise(url: str, folder: Path) -> None:
    """Purge, and go on after each batch when somebody says so."""
    whole = purge.empty

    async def waiting(database: Database, organization_id: UUID, table: str) -> AsyncGenerator[int, None]:
        async for count in whole(database, organization_id, table):
            if count:
                print(table, flush=True)  # noqa: T201 - the test waits for it
                await asyncio.to_thread(sys.stdin.readline)
            yield count

    purge.empty = waiting
    database = Database(url)
    await purge_of(database, folder).sweep()
    await database.close()


if __name__ == "__main__":
    asyncio.run(stepwise(sys.argv[1], Path(sys.argv[2])))
