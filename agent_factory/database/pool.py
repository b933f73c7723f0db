"""Connections without an ORM: for the engine's hot statements, and for LISTEN."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from agent_factory.database.errors import ConnectionLost, translated
from agent_factory.database.settings import DatabaseSettings

T = TypeVar("T")
Connect = Callable[[], Coroutine[Any, Any, asyncpg.Connection]]


def connector(url: str, role: str | None, settings: DatabaseSettings) -> Connect:
    """Make the function that opens a connection in a role; it raises `Unavailable` when PostgreSQL is away."""
    options = {
        "application_name": "agent-factory",
        "statement_timeout": _milliseconds(settings.statement_timeout),
        "lock_timeout": _milliseconds(settings.lock_timeout),
        "idle_in_transaction_session_timeout": _milliseconds(settings.idle_in_transaction_timeout),
        "jit": "off",
    }
    if role:
        options["role"] = role
    dsn = driver_url(url)

    async def connect(*_dsn: object, **_options: object) -> asyncpg.Connection:
        with translated():
            return await asyncpg.connect(
                dsn,
                timeout=settings.connect_timeout,
                # the server ends a long statement; this is for a server that has fallen silent
                command_timeout=settings.statement_timeout + settings.lock_timeout + 5,
                server_settings=options,
            )

    return connect


def driver_url(url: str) -> str:
    """Write a PostgreSQL URL as the driver reads it, whatever dialect it names."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.split('+')[0]}{separator}{rest}"


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


async def _keep(_connection: asyncpg.Connection) -> None:
    """Spare the reset statement on release: single statements leave nothing behind."""


class Pool:
    """Single statements outside a session, in one role.

    Nothing is connected before the first use. JSON goes in and comes out as
    text, so that callers choose their own codec.
    """

    def __init__(self, connect: Connect, size: int) -> None:
        """Remember how to connect; `size` is the most connections."""
        self._connect = connect
        self._size = size
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def fetch(self, sql: str, *args: Any, again: bool = False) -> list[asyncpg.Record]:
        """Run a statement and return its rows; `again` says that it may safely run twice."""
        return await self._run(lambda c: c.fetch(sql, *args), again)

    async def fetchrow(self, sql: str, *args: Any, again: bool = False) -> asyncpg.Record | None:
        """Run a statement and return its first row, if any."""
        return await self._run(lambda c: c.fetchrow(sql, *args), again)

    async def fetchval(self, sql: str, *args: Any, again: bool = False) -> Any:
        """Run a statement and return the first value of its first row."""
        return await self._run(lambda c: c.fetchval(sql, *args), again)

    async def execute(self, sql: str, *args: Any, again: bool = False) -> str:
        """Run a statement and return its command tag, such as `UPDATE 1`."""
        return await self._run(lambda c: c.execute(sql, *args), again)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[asyncpg.Connection, None]:
        """Hold one connection in a transaction that commits at a clean exit."""
        with translated():
            async with (await self._opened()).acquire() as connection, connection.transaction():
                yield connection

    async def close(self) -> None:
        """Close every connection; the pool opens again when it is used again."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def _run(self, statement: Callable[[Any], Coroutine[Any, Any, T]], again: bool) -> T:
        try:
            return await self._once(statement)
        except ConnectionLost:
            # nobody knows whether a lost statement took effect: only what may run twice is repeated
            if not again:
                raise
        return await self._once(statement)

    async def _once(self, statement: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        with translated():
            async with (self._pool or await self._opened()).acquire() as connection:
                return await statement(connection)

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    min_size=0, max_size=self._size, connect=self._connect, reset=_keep
                )
            return self._pool
