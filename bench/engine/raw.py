# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# asyncpg has no types
"""The limit: rows of all runs go to PostgreSQL in one statement a commit, and nothing else is done."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from agent_factory.database.batches import Lane
from bench.engine.load import Run, serve

_TABLE = "create table if not exists steps (run uuid, path text, output jsonb, primary key (run, path))"
_INSERT = "insert into steps select * from unnest($1::uuid[], $2::text[], $3::jsonb[])"


@asynccontextmanager
async def opened(url: str, _folder: str) -> AsyncGenerator[Run, None]:
    """Open one connection, which is all that group commit needs."""
    connection = await asyncpg.connect(url)
    await connection.execute(_TABLE)

    async def execute(rows: Sequence[tuple[uuid.UUID, str]], _again: bool) -> list[None]:
        ids, paths = [row[0] for row in rows], [row[1] for row in rows]
        await connection.execute(_INSERT, ids, paths, ['{"status": "completed"}'] * len(rows))
        return [None] * len(rows)

    lane: Lane[tuple[uuid.UUID, str], None] = Lane(execute, 10.0)

    async def run(steps: int) -> None:
        run_id = uuid.uuid4()
        for step in range(steps):
            await lane.submit((run_id, f"t{step}"))

    try:
        yield run
    finally:
        async with asyncio.timeout(5):
            await connection.close()


if __name__ == "__main__":
    serve(opened)
