"""Single statements without an ORM, for what is hot."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from agent_factory.database.driver import Connect, Connection, Connections, Row, open_pool
from agent_factory.database.errors import ConnectionLost, translated

T = TypeVar("T")


class Pool:
    """Single statements outside a session, in one role.

    Nothing is connected before the first use. JSON goes in and comes out as
    text, so that callers choose their own codec.

    A statement on a connection that turns out to be lost raises `Unavailable`,
    for nobody knows whether it took effect. With `again`, which says that it
    may safely run twice, it is tried once more on a fresh connection.
    """

    def __init__(self, connect: Connect, size: int) -> None:
        """Remember how to connect; `size` is the most connections."""
        self._connect = connect
        self._size = size
        self._open: Connections | None = None
        self._opening = asyncio.Lock()

    async def fetch(self, sql: str, *args: object, again: bool = False) -> list[Row]:
        """Run a statement and return its rows."""
        return await self._run(lambda c: c.fetch(sql, *args), again)

    async def fetchrow(self, sql: str, *args: object, again: bool = False) -> Row | None:
        """Run a statement and return its first row, if any."""
        return await self._run(lambda c: c.fetchrow(sql, *args), again)

    async def fetchval(self, sql: str, *args: object, again: bool = False) -> Any:  # noqa: ANN401 - whatever the column holds
        """Run a statement and return the first value of its first row."""
        return await self._run(lambda c: c.fetchval(sql, *args), again)

    async def execute(self, sql: str, *args: object, again: bool = False) -> str:
        """Run a statement and return its command tag, such as `UPDATE 1`."""
        return await self._run(lambda c: c.execute(sql, *args), again)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """Hold one connection in a transaction that commits at a clean exit."""
        with translated(asyncpg.PostgresError, asyncpg.InterfaceError):
            async with (await self._opened()).acquire() as connection, connection.transaction():
                yield connection

    async def close(self) -> None:
        """Close every connection, after at most 5 s; the pool opens again when it is used again."""
        pool, self._open = self._open, None
        if pool is not None:
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def _run(self, statement: Callable[[Connection], Coroutine[Any, Any, T]], again: bool) -> T:
        try:
            return await self._once(statement)
        except ConnectionLost:
            if not again:
                raise
        return await self._once(statement)

    async def _once(self, statement: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        with translated():
            async with (self._open or await self._opened()).acquire() as connection:
                return await statement(connection)

    async def _opened(self) -> Connections:
        async with self._opening:
            if self._open is None:
                self._open = await open_pool(self._connect, self._size)
            return self._open
