"""The schema's history, and the way to its head."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from agent_factory.database.driver import Connection as DriverConnection
from agent_factory.database.driver import connector
from agent_factory.database.errors import translated
from agent_factory.database.settings import DatabaseSettings
from agent_factory.kit.errors import Kind, Problem

if TYPE_CHECKING:
    from alembic.config import Config

log = structlog.stdlib.get_logger(__name__)

_FOLDER = Path(__file__).parent
_NO_RIGHT = "42501"
_LOCK = 0x6166_6D67
"""Of the advisory lock: two processes that start together migrate one after the other."""
_PARTITION = re.compile(r"runs?(_steps)?_(default|\d{4}_\d{2})$")
_PATIENT = DatabaseSettings(statement_timeout=3600, lock_timeout=3600, idle_in_transaction_timeout=3600)


class MissingRight(Problem):
    """The login may not do what a migration has to do."""

    kind = Kind.FORBIDDEN
    code = "database_right_missing"
    title = "The database login lacks a right"


def in_models(name: str | None, kind: str, _parents: object = None) -> bool:
    """Tell whether a name of the database is one that models know of: partitions come and go by themselves."""
    return kind != "table" or name is None or _PARTITION.match(name) is None


def head() -> str:
    """Name the newest revision; each file's name begins with its number, so nothing has to be imported."""
    return max(path.name.partition("_")[0] for path in (_FOLDER / "versions").glob("[0-9]*.py"))


async def migrate(url: str, revision: str = "head") -> None:
    """Bring a database to a revision: `head`, a number, or `base` for an empty one.

    At the head already it costs one query. A process migrates one database at
    a time, for Alembic keeps its state in its modules. Raises `Unavailable` when
    PostgreSQL is away, `MissingRight` when the login may not make roles.
    """
    wanted = head() if revision == "head" else revision
    with translated():
        connection = await connector(url, None, _PATIENT)()
        try:
            if await _current(connection) == wanted:
                return
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            now = await _current(connection)
            if now != wanted:
                log.info("migrating the database", of=now, to=wanted)
                await _change(url, now, wanted)
        finally:
            await connection.close()


async def _current(connection: DriverConnection) -> str | None:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    return await connection.fetchval("SELECT version_num FROM alembic_version")


async def _change(url: str, now: str | None, wanted: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connector(url, None, _PATIENT), poolclass=NullPool
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run, now, wanted)
    except ProgrammingError as error:
        if not isinstance(error.orig, BaseException) or getattr(error.orig, "sqlstate", None) != _NO_RIGHT:
            raise
        raise MissingRight(
            "The database login has to own the database and to have CREATEROLE, or be granted the roles af_app and "
            f"af_system WITH SET TRUE, to set the database up. PostgreSQL says: {error.orig.args[0]}"
        ) from error
    finally:
        await engine.dispose()


def _run(connection: Connection, now: str | None, wanted: str) -> None:
    # the import costs more than a check at the head may
    from alembic import command  # noqa: PLC0415

    down = wanted == "base" or (now is not None and wanted < now)
    (command.downgrade if down else command.upgrade)(configuration(connection), wanted)


def configuration(connection: Connection) -> "Config":
    """Make Alembic's configuration for an open connection; there is no ini file to find."""
    from alembic.config import Config  # noqa: PLC0415 - as in _run

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
