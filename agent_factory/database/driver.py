"""The driver with types: asyncpg ships none."""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import asyncpg

from agent_factory.database.errors import translated
from agent_factory.database.settings import DatabaseSettings


class Row(Protocol):
    """A row: values by name or by position."""

    def __getitem__(self, key: str | int) -> Any:  # noqa: ANN401 - whatever the column holds
        """Give one value."""
        ...


Heard = Callable[[object, int, str, object], None]
"""Takes connection, process id, channel and payload of a notification."""


class Connection(Protocol):
    """The part of a connection that we use; JSON goes in and comes out as text."""

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Run a statement and return its rows."""
        ...

    async def fetchrow(self, sql: str, *args: object) -> Row | None:
        """Run a statement and return its first row."""
        ...

    async def fetchval(self, sql: str, *args: object) -> Any:  # noqa: ANN401 - whatever the column holds
        """Run a statement and return the first value of its first row."""
        ...

    async def execute(self, sql: str, *args: object) -> str:
        """Run a statement and return its command tag."""
        ...

    async def executemany(self, sql: str, rows: list[tuple[object, ...]]) -> None:
        """Run a statement once a row."""
        ...

    def transaction(self, *, readonly: bool = False) -> AbstractAsyncContextManager[object]:
        """Commit at a clean exit, roll back at any other."""
        ...

    async def add_listener(self, channel: str, callback: Heard) -> None:
        """LISTEN."""
        ...

    async def remove_listener(self, channel: str, callback: Heard) -> None:
        """UNLISTEN."""
        ...

    def add_termination_listener(self, callback: Callable[[object], None]) -> None:
        """Call back once the connection is gone."""
        ...

    def is_closed(self) -> bool:
        """Whether the connection is gone."""
        ...

    async def close(self) -> None:
        """Say goodbye and close."""
        ...

    def terminate(self) -> None:
        """Close at once."""
        ...


class Connections(Protocol):
    """The driver's own pool."""

    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection."""
        ...

    async def close(self) -> None:
        """Wait for what is lent, then close all."""
        ...

    def terminate(self) -> None:
        """Close all at once."""
        ...


Connect = Callable[..., Coroutine[Any, Any, Connection]]
"""Opens a connection; takes and ignores what pools hand to a connecting function."""

_connect = cast("Callable[..., Awaitable[Connection]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType] - untyped
_create_pool = cast("Callable[..., Awaitable[Connections]]", asyncpg.create_pool)  # pyright: ignore[reportUnknownMemberType] - untyped


def connector(url: str, role: str | None, settings: DatabaseSettings, *, plan_once: bool = False) -> Connect:
    """Make the function that opens a connection in a role; it raises `Unavailable` when PostgreSQL is away.

    With `plan_once`, a statement keeps its first general plan, by indexes however small the tables still are at that
    moment: for few, well-known statements that run all the time.
    """
    options = {
        "application_name": "agent-factory",
        "statement_timeout": _milliseconds(settings.statement_timeout),
        "lock_timeout": _milliseconds(settings.lock_timeout),
        "idle_in_transaction_session_timeout": _milliseconds(settings.idle_in_transaction_timeout),
    }
    if role:
        options["role"] = role
    if plan_once:
        options |= {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
    dsn = _of_postgres(url)

    async def connect(*_dsn: object, **_options: object) -> Connection:
        with translated():
            return await _connect(
                dsn,
                timeout=settings.connect_timeout,
                # the server ends a long statement; this is for a server that has fallen silent
                command_timeout=settings.statement_timeout + settings.lock_timeout + 5,
                server_settings=options,
            )

    return connect


async def open_pool(connect: Connect, size: int) -> Connections:
    """Make a pool that connects when it is used, not before."""
    return await _create_pool(min_size=0, max_size=size, connect=connect, reset=_keep)


async def _keep(_connection: object) -> None:
    """Spare the reset statement on release: single statements leave nothing behind."""


def _of_postgres(url: str) -> str:
    """Write a URL as the driver reads it, whatever dialect it names."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.split('+')[0]}{separator}{rest}"


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
