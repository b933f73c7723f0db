"""A connection to an MCP server that one task opens and closes, shared by the calls in between."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import cast

from mcp.client import Client

_IDLE = 60.0
"""Seconds without a call after which a connection is closed, and its process ended."""

Open = Callable[[], AbstractAsyncContextManager[Client]]


class Connection:
    """Opens when it is first used, and again after it was closed.

    The SDK's cancel scopes belong to the task that entered them, so a task of
    our own enters and leaves them, whoever calls and whoever is cancelled.
    """

    def __init__(self, opener: Open, *, connect: float, idle: float = _IDLE) -> None:
        """Open nothing yet; `connect` and `idle` are seconds."""
        self._open = opener
        self._connect = connect
        self._idle = idle
        self._held: _Held | None = None

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Client, None]:
        """Give the client for one exchange; raises what opening the connection raised."""
        held = self._held
        if held is None or not held.usable():
            held = self._held = _Held(self._open, self._connect, self._idle)
        held.begin()
        try:
            yield await asyncio.shield(held.ready)
        finally:
            held.end()

    def drop(self) -> None:
        """Close a connection that has proved broken; the next use opens another."""
        if self._held is not None:
            self._held.stop()
            self._held = None


class _Held:
    """One opened connection and the task that owns it."""

    def __init__(self, opener: Open, connect: float, idle: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._users = 0
        self._ended = False
        self.ready: asyncio.Future[Client] = self._loop.create_future()
        self.ready.add_done_callback(_seen)
        self._owner = self._loop.create_task(self._hold(opener, connect, idle))

    def usable(self) -> bool:
        return not self._ended and self._loop is asyncio.get_running_loop()

    def begin(self) -> None:
        self._users += 1
        self._changed.set()

    def end(self) -> None:
        self._users -= 1
        self._changed.set()

    def stop(self) -> None:
        self._ended = True
        self._changed.set()

    async def _hold(self, opener: Open, connect: float, idle: float) -> None:
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(connect):
                    client = await stack.enter_async_context(opener())
                self.ready.set_result(client)
                await self._until_idle(idle)
        except Exception as error:  # noqa: BLE001 - whoever waits for the connection gets it; later it only means the end
            if not self.ready.done():
                self.ready.set_exception(_first(error))
        finally:
            self._ended = True
            self.ready.cancel()

    async def _until_idle(self, idle: float) -> None:
        while not self._ended:
            self._changed.clear()
            try:
                async with asyncio.timeout(None if self._users else idle):
                    await self._changed.wait()
            except TimeoutError:
                self._ended = True  # before anything is awaited, so that nobody begins to use what is closing


def _first(error: Exception) -> Exception:
    """Give the error itself out of the groups that task groups wrap around it."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error


def _seen(ready: asyncio.Future[Client]) -> None:
    """Read the result that perhaps nobody waits for any more, so that it is not reported as lost."""
    if not ready.cancelled():
        ready.exception()
