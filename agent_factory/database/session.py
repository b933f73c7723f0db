"""Sessions that see one organisation, and the few that see all."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NewType
from uuid import UUID

import msgspec
from sqlalchemy import Connection, ExceptionContext, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.orm import SessionTransaction

from agent_factory.database.driver import Connect, connector
from agent_factory.database.errors import ConnectionLost, problem, translated
from agent_factory.database.listener import Callback, Listener
from agent_factory.database.pool import Pool
from agent_factory.database.settings import DatabaseSettings
from agent_factory.kit.errors import Problem

APP_ROLE = "af_app"
"""The role of requests: row-level security shows it one organisation."""
SYSTEM_ROLE = "af_system"
"""The role of authentication and the engine: it sees every organisation's rows, in the tables that it needs."""

ReadSession = NewType("ReadSession", AsyncSession)
"""A read-only transaction; a function that takes one writes nothing."""
Session = NewType("Session", ReadSession)
"""A transaction that may write; only the edge that opened it commits."""

_SEE = text("SELECT set_config('app.org_id', :organization_id, true)")


class _TenantSession(OrmSession):
    """A session that tells every transaction which organisation it works for."""


@event.listens_for(_TenantSession, "after_begin")
def _see_one_organization(session: OrmSession, _transaction: SessionTransaction, connection: Connection) -> None:
    # also for nobody: this first statement is what shows that a pooled connection is stale
    connection.execute(_SEE, {"organization_id": session.info["organization_id"]})


class Database:
    """Everything that a process has open to PostgreSQL.

    Making one connects to nothing, so a process starts while PostgreSQL is
    away. Every call raises `Unavailable` while it is, and works again when it
    is back. `pool` runs single statements in the role `af_system`.
    """

    def __init__(self, url: str, settings: DatabaseSettings | None = None) -> None:
        """Prepare the pools; `url` is a `postgresql://` URL."""
        settings = settings or DatabaseSettings()
        as_app = connector(url, APP_ROLE, settings)
        as_system = connector(url, SYSTEM_ROLE, settings)
        self.url = url
        # planning the engine's statements anew each time would cost PostgreSQL more than running them
        self.pool = Pool(connector(url, SYSTEM_ROLE, settings, plan_once=True), settings.pool_size)
        self._listener = Listener(as_system)
        self._app = _engine(as_app, settings.pool_size, settings.pool_timeout)
        self._app_read = self._app.execution_options(postgresql_readonly=True)
        self._system = _engine(as_system, 2, settings.pool_timeout)

    @asynccontextmanager
    async def write(self, organization_id: UUID) -> AsyncGenerator[Session, None]:
        """Open one transaction of one organisation; it commits at a clean exit and rolls back at any other."""
        async with _transaction(self._app, organization_id) as session:
            yield Session(ReadSession(session))
            await session.commit()

    @asynccontextmanager
    async def read(self, organization_id: UUID) -> AsyncGenerator[ReadSession, None]:
        """Open one read-only transaction of one organisation."""
        async with _transaction(self._app_read, organization_id) as session:
            yield ReadSession(session)

    @asynccontextmanager
    async def system(self) -> AsyncGenerator[Session, None]:
        """Open one transaction in the role `af_system`: authentication and bootstrap, before there is a tenant."""
        async with _transaction(self._system, None) as session:
            yield Session(ReadSession(session))
            await session.commit()

    async def listen(self, channel: str, callback: Callback) -> None:
        """Call back on each NOTIFY; an empty payload says that some may have been missed."""
        await self._listener.add(channel, callback)

    async def unlisten(self, channel: str, callback: Callback) -> None:
        """Stop calling back."""
        await self._listener.remove(channel, callback)

    async def ping(self) -> None:
        """Return when PostgreSQL answers; raise `Unavailable` when it does not."""
        await self.pool.fetchval("SELECT 1", again=True)

    async def close(self) -> None:
        """Close every connection."""
        await self._listener.close()
        await self.pool.close()
        await self._app.dispose()
        await self._system.dispose()


def _engine(connect: Connect, size: int, timeout: float) -> AsyncEngine:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=size,
        max_overflow=0,
        pool_timeout=timeout,
        json_serializer=_json,
        json_deserializer=msgspec.json.decode,
    )

    event.listen(engine.sync_engine, "handle_error", _translate)
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _refuse_closed(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
    """Make the pool replace a connection that is known to be closed."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _translate(context: ExceptionContext) -> Problem | None:
    meant = problem(context.original_exception)
    if isinstance(meant, ConnectionLost):
        context.is_disconnect = True  # the server's farewell may come before the end of the connection
    return meant


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@asynccontextmanager
async def _transaction(engine: AsyncEngine, organization_id: UUID | None) -> AsyncGenerator[AsyncSession, None]:
    async with AsyncSession(
        engine,
        sync_session_class=_TenantSession,
        expire_on_commit=False,
        info={"organization_id": (organization_id and str(organization_id)) or ""},
    ) as session:
        with translated():
            try:
                await session.connection()
            except ConnectionLost:
                # the pooled connection was stale: nothing has run on it, so a fresh one may take its place
                await session.rollback()
                await session.connection()
        yield session
