"""PostgreSQL: a read-only transaction around what can be nothing but a query."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

import asyncpg
import msgspec
import orjson

from agent_factory.tools.sql.statement import (
    MAX_BYTES,
    Changed,
    Collector,
    DatabaseUnreachable,
    Rows,
    Statement,
    changes,
    failed,
    shortened,
    wrong_values,
)

Connection: TypeAlias = Any
Prepared: TypeAlias = Any
"""asyncpg declares no types; these names say what is meant."""

_CONNECT_SECONDS = 10.0
_ROW = 200_000
"""Characters of one row as JSON; the server cuts longer ones, so that they are never sent."""

_AHEAD = 20
"""Rows that are fetched at once."""

_BY_TEXT = frozenset({"date", "time", "timetz", "timestamp", "timestamptz", "interval", "numeric"})
"""Types whose values JSON carries as text; PostgreSQL reads that text itself."""


async def run(url: str, statement: Statement) -> Rows | Changed:
    """Run one statement; the extended protocol refuses a second one in the same text.

    Reading happens in a READ ONLY transaction, and only what can stand as a
    subquery runs: no COPY, no SET, no CALL.
    """
    async with _connection(url, statement) as connection:
        try:
            async with connection.transaction(readonly=not statement.write):
                await connection.execute(f"SET LOCAL statement_timeout = {int(statement.seconds * 1000)}")
                await connection.execute("SELECT 1")  # after its first query a transaction stays read-only
                return await _run(connection, statement)
        except asyncpg.PostgresError as error:
            if str(error).startswith("invalid input for query argument"):
                raise wrong_values(str(error)) from None
            raise failed(str(error)) from None
        except (asyncpg.InterfaceError, ValueError, TypeError, OverflowError) as error:
            raise wrong_values(str(error)) from None


@asynccontextmanager
async def _connection(url: str, statement: Statement) -> AsyncGenerator[Connection, None]:
    try:
        connection = await cast("Any", asyncpg).connect(
            url.replace("postgresql+asyncpg:", "postgresql:", 1),
            timeout=_CONNECT_SECONDS,
            command_timeout=statement.seconds + 2,
            statement_cache_size=0,
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError):
        raise DatabaseUnreachable("The database does not answer, or refuses the credentials.") from None
    try:
        yield connection
    except BaseException:
        connection.terminate()  # it may be in the middle of an answer
        raise
    await connection.close(timeout=2)


async def _run(connection: Connection, statement: Statement) -> Rows | Changed:
    asked = statement.sql.strip().rstrip(";")
    # the row is made text and cut on the server, for one row may hold a gigabyte
    query = f"SELECT left(to_json(_row_)::text, {_ROW + 1}) FROM (\n{asked}\n) AS _row_"  # noqa: S608 - running what it is given is the tool's purpose
    if not statement.write:
        return await _read(await _prepare(connection, query), statement)
    if not changes(asked):
        async with connection.transaction():  # a savepoint
            return await _read(await _prepare(connection, query), statement)
    return await _write(await _prepare(connection, asked), statement)


async def _prepare(connection: Connection, sql: str) -> Prepared:
    prepared = await connection.prepare(sql)
    kinds = _BY_TEXT.intersection(p.name for p in prepared.get_parameters())
    for kind in kinds:
        await connection.set_type_codec(kind, schema="pg_catalog", encoder=str, decoder=str, format="text")
    return await connection.prepare(sql) if kinds else prepared


async def _read(prepared: Prepared, statement: Statement) -> Rows:
    result = Rows([])
    size = 0
    async for record in prepared.cursor(*_bound(prepared, statement), prefetch=_AHEAD):
        row: str = record[0]
        size += len(row)
        if len(result.rows) == statement.rows or size > MAX_BYTES:
            result.note = shortened(len(result.rows))
            break
        result.rows.append(msgspec.Raw(row.encode()) if len(row) <= _ROW else "(a row too large to be shown)")
    return result


async def _write(prepared: Prepared, statement: Statement) -> Rows | Changed:
    values = _bound(prepared, statement)
    columns = [a.name for a in prepared.get_attributes()]
    if not columns:
        await prepared.fetch(*values)
        return Changed(_count(prepared.get_statusmsg()))
    collector = Collector(columns, statement.rows)
    async for record in prepared.cursor(*values, prefetch=_AHEAD):
        if collector.full(tuple(record)):
            break
    return collector.result


def _bound(prepared: Prepared, statement: Statement) -> list[Any]:
    """Give lists and objects to JSON parameters as JSON text, and all else as it is."""
    kinds = [p.name for p in prepared.get_parameters()]
    if len(kinds) != len(statement.values):
        raise ValueError(f"the statement has {len(kinds)} placeholders, not {len(statement.values)}")
    return [
        orjson.dumps(v).decode() if k in {"json", "jsonb"} else v for k, v in zip(kinds, statement.values, strict=True)
    ]


def _count(status: str) -> int:
    last = status.rpartition(" ")[2]
    return int(last) if last.isdecimal() else 0
