"""MySQL and MariaDB through asyncmy: server-side placeholders, a read-only transaction, rows one by one."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec

from agent_factory.core.tool import ToolUnavailable
from agent_factory.tools.sql.statement import (
    Changed,
    Collector,
    DatabaseUnreachable,
    Rows,
    Statement,
    changes,
    failed,
)

Driver: TypeAlias = Any
Connection: TypeAlias = Any
Cursor: TypeAlias = Any
"""asyncmy declares no types; these names say what is meant."""

driver: Driver = None
with suppress(ImportError):  # an optional dependency: agent-factory[mysql]
    driver = import_module("asyncmy")
    import_module("asyncmy.cursors")
    import_module("asyncmy.errors")

_CONNECT_SECONDS = 10
_PORT = 3306
_DUPLICATE_COLUMN = 1060


async def run(url: str, statement: Statement) -> Rows | Changed:
    """Run one statement; the server's own PREPARE refuses a second one in the same text.

    Reading happens in a READ ONLY transaction, and only what can stand as a
    subquery runs: no CALL, no INTO OUTFILE, no SET.
    """
    if driver is None:
        raise ToolUnavailable("MySQL needs the package asyncmy; install agent-factory[mysql].")
    async with _connection(url, statement) as connection:
        try:
            return await _run(connection, statement)
        except driver.errors.Error as error:
            raise failed(_words(error)) from None


@asynccontextmanager
async def _connection(url: str, statement: Statement) -> AsyncGenerator[Connection, None]:
    parts = urlsplit(url)
    try:
        connection = await driver.connect(
            host=parts.hostname,
            port=parts.port or _PORT,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.lstrip("/")) or None,
            charset="utf8mb4",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=statement.seconds + 2,
            autocommit=True,
        )
    except (OSError, TimeoutError, ValueError, driver.errors.Error):
        raise DatabaseUnreachable("The database does not answer, or refuses the credentials.") from None
    try:
        yield connection
    finally:
        connection.close()  # the socket, at once: what is still on its way is not wanted


async def _run(connection: Connection, statement: Statement) -> Rows | Changed:
    cursor = connection.cursor(driver.cursors.SSCursor)
    asked = statement.sql.strip().rstrip(";")
    await _limit(cursor, connection, statement.seconds)
    await cursor.execute("START TRANSACTION" if statement.write else "START TRANSACTION READ ONLY")
    if not (statement.write and changes(asked)):
        await _expect_query(cursor, connection, asked)
        await cursor.execute(f"SET SESSION sql_select_limit = {statement.rows + 1}")
    await cursor.execute(f"PREPARE asked FROM {connection.escape(asked)}")
    names = await _bind(cursor, connection, statement.values)
    await cursor.execute("EXECUTE asked" + (f" USING {', '.join(names)}" if names else ""))
    if cursor.description is None:
        changed = cursor.rowcount
        await cursor.execute("COMMIT")
        return Changed(changed)
    collector = Collector((c[0] for c in cursor.description), statement.rows)
    while (row := await cursor.fetchone()) is not None:
        if collector.full(row):
            break
    else:
        await cursor.execute("COMMIT")
    return collector.result


async def _expect_query(cursor: Cursor, connection: Connection, asked: str) -> None:
    """Refuse what cannot stand as a subquery; it is then run as it is, for as a subquery it would lose its order."""
    as_subquery = f"SELECT * FROM (\n{asked}\n) AS checked"  # noqa: S608 - running what it is given is the tool's purpose
    try:
        await cursor.execute(f"PREPARE checked FROM {connection.escape(as_subquery)}")
    except driver.errors.Error as error:
        if error.args[0] != _DUPLICATE_COLUMN:  # which is found after all else has been found good
            raise


async def _limit(cursor: Cursor, connection: Connection, seconds: float) -> None:
    """Set the server's own deadline for a statement: MariaDB counts seconds, MySQL milliseconds."""
    maria = "mariadb" in connection.get_server_info().lower()
    limit = f"max_statement_time = {seconds}" if maria else f"max_execution_time = {int(seconds * 1000)}"
    await cursor.execute(f"SET SESSION {limit}")


async def _bind(cursor: Cursor, connection: Connection, values: Sequence[Any]) -> list[str]:
    names: list[str] = []
    for index, value in enumerate(values):
        if isinstance(value, dict | list):
            value = msgspec.json.encode(value).decode()  # noqa: PLW2901 - JSON columns take JSON text
        names.append(f"@value{index}")
        await cursor.execute(f"SET {names[-1]} = {connection.escape(value)}")
    return names


def _words(error: Exception) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)
