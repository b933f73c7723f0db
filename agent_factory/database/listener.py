"""LISTEN on one connection that comes back by itself."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import structlog

from agent_factory.database.driver import Connect, Connection
from agent_factory.kit.errors import Problem

log = structlog.stdlib.get_logger(__name__)

Callback = Callable[[str], None]
"""Takes a notification's payload; an empty one says that some may have been missed."""

_GONE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver may say of a connection that is gone, or goes just now."""


class Listener:
    """Keeps one connection for every channel that anyone listens to.

    While PostgreSQL is away it tries again, with a pause that grows from
    0.1 s to 5 s. After each gap every callback is called with an empty
    payload, for what was said meanwhile is lost.
    """

    def __init__(self, connect: Connect) -> None:
        """Remember how to connect; nothing runs before the first `add`."""
        self._connect = connect
        self._callbacks: dict[str, list[Callback]] = {}
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._adding = asyncio.Lock()

    async def add(self, channel: str, callback: Callback) -> None:
        """Call back on each notification; returns when PostgreSQL has agreed, or at once while it is away."""
        async with self._adding:  # or two that come first would each open a connection
            new = channel not in self._callbacks
            self._callbacks.setdefault(channel, []).append(callback)
            if self._task is None:
                with suppress(Problem):
                    self._connection = await self._connected()
                self._task = asyncio.create_task(self._keep(), name="database listener")
            elif new and self._connection is not None:
                with suppress(*_GONE):
                    await self._connection.add_listener(channel, self._heard)

    async def remove(self, channel: str, callback: Callback) -> None:
        """Stop calling back; whether the connection is still there does not matter."""
        left = self._callbacks.get(channel, [])
        if callback not in left:
            return  # everything was closed before
        left.remove(callback)
        if not left:
            del self._callbacks[channel]
            if self._connection is not None:
                with suppress(*_GONE):
                    await self._connection.remove_listener(channel, self._heard)

    async def close(self) -> None:
        """Stop listening to everything."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
        self._callbacks.clear()

    async def _keep(self) -> None:
        pause = 0.1
        while True:
            if self._connection is not None:
                await _gone(self._connection)
                self._connection = None
                log.info("the listening connection is gone; connecting again")
            try:
                self._connection = await self._connected()
            except Problem:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
                continue
            pause = 0.1
            for callbacks in list(self._callbacks.values()):
                for callback in list(callbacks):
                    callback("")

    async def _connected(self) -> Connection:
        connection = await self._connect()
        try:
            for channel in list(self._callbacks):
                await connection.add_listener(channel, self._heard)
        except BaseException:
            connection.terminate()  # nobody else knows of it
            raise
        return connection

    def _heard(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        for callback in list(self._callbacks.get(channel, [])):
            callback(str(payload))


async def _gone(connection: Connection) -> None:
    gone = asyncio.Event()
    connection.add_termination_listener(lambda _connection: gone.set())
    if not connection.is_closed():
        await gone.wait()
