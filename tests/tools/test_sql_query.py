"""SQL on real databases: read-only unless allowed, bounded in rows, bytes and time (S82)."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from agent_factory.core.tool import Tool, ToolContext
from agent_factory.kit.errors import Invalid, NotFound
from agent_factory.tools.sql.statement import DatabaseUnreachable, SqlFailed
from agent_factory.tools.sql_query import plugin
from tests.doubles import mariadb

PEOPLE = [(1, "Ada", "1815-12-10"), (2, "Grace", "1906-12-09"), (3, "Barbara", "1939-11-07")]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "people.db")) as database:
        database.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, born TEXT)")
        database.executemany("INSERT INTO people VALUES (?, ?, ?)", PEOPLE)
        database.commit()
    return f"sqlite:///{tmp_path / 'people.db'}"


@pytest.fixture
async def postgresql_url(empty_database_url: str) -> str:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("CREATE TABLE people (id int PRIMARY KEY, name text, born text)")
    await connection.executemany("INSERT INTO people VALUES ($1, $2, $3)", PEOPLE)
    await connection.close()
    return empty_database_url


@pytest.fixture(scope="session")
async def mariadb_server() -> AsyncGenerator[str, None]:
    if mariadb.found() is None:
        pytest.skip("mariadbd is not installed (Debian: mariadb-server)")
    async with mariadb.running() as url:
        yield url


@pytest.fixture
async def mysql_url(mariadb_server: str) -> str:
    """A MariaDB that has the table of the others."""
    tool = await _tool(mariadb_server, write=True)
    context = _context(mariadb_server)
    await tool.call({"sql": "DROP TABLE IF EXISTS people"}, context)
    await tool.call({"sql": "CREATE TABLE people (id int PRIMARY KEY, name text, born text)"}, context)
    for row in PEOPLE:
        await tool.call({"sql": "INSERT INTO people VALUES (?, ?, ?)", "values": list(row)}, context)
    return mariadb_server


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def url(request: pytest.FixtureRequest) -> str:
    """Each database in turn."""
    return request.getfixturevalue(f"{request.param}_url")


def _context(url: str) -> ToolContext:
    return ToolContext(resources={"databases": {"main": url}})


async def _tool(url: str, **config: Any) -> Tool:
    (tool,) = await plugin.build({"database": "main", **config}, None, _context(url))
    return tool


def _marked(url: str, sql: str) -> str:
    """Write a statement's placeholders, `?`, as the database of the URL has them."""
    if not url.startswith("postgres"):
        return sql
    parts = sql.split("?")
    return "".join(f"{part}${n}" for n, part in enumerate(parts[:-1], 1)) + parts[-1]


async def _run(url: str, sql: str, *values: Any, **config: Any) -> Any:
    arguments = {"sql": _marked(url, sql), "values": list(values)}
    return msgspec.json.decode(await (await _tool(url, **config)).call(arguments, _context(url)))


async def test_rows_come_back_as_objects_in_their_order(url: str) -> None:
    rows = await _run(url, "SELECT id, name FROM people WHERE id < ? ORDER BY id DESC", 3)
    assert rows == {"rows": [{"id": 2, "name": "Grace"}, {"id": 1, "name": "Ada"}]}


async def test_values_stay_values_whatever_is_in_them(url: str) -> None:
    evil = "'; DROP TABLE people; -- \\' \" %s"
    assert await _run(url, "SELECT id FROM people WHERE name = ?", evil) == {"rows": []}
    await _run(url, "UPDATE people SET name = ? WHERE id = ?", evil, 1, write=True)
    assert await _run(url, "SELECT name FROM people WHERE id = ?", 1) == {"rows": [{"name": evil}]}


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM people",
        "INSERT INTO people VALUES (9, 'x', 'x')",
        "UPDATE people SET name = 'x'",
        "DROP TABLE people",
        "CREATE TABLE more (id int)",
        "ALTER TABLE people ADD COLUMN x int",
        "TRUNCATE people",
        "/* comment */ DELETE FROM people",
        "WITH gone AS (DELETE FROM people RETURNING id) SELECT * FROM gone",
        "SELECT 1; DELETE FROM people",
        "SELECT 1) AS x; DELETE FROM people; --",
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "SET TRANSACTION READ WRITE",
        "EXPLAIN ANALYZE DELETE FROM people",
        "SELECT * INTO more FROM people",
        "CALL something()",
        "DO $$ BEGIN DELETE FROM people; END $$",
        "PRAGMA writable_schema = 1",
        "VACUUM",
    ],
)
async def test_nothing_is_changed_where_only_reading_is_allowed(url: str, sql: str) -> None:
    with pytest.raises(SqlFailed):
        await _run(url, sql)
    assert await _run(url, "SELECT count(*) AS n FROM people") == {"rows": [{"n": 3}]}


async def test_a_read_only_transaction_stays_one(postgresql_url: str) -> None:
    for sql in (
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT lo_create(1)",
        "SELECT * FROM people FOR UPDATE",
    ):
        with pytest.raises(SqlFailed):
            await _run(postgresql_url, sql)


@pytest.mark.parametrize("write", [True, False])
async def test_no_file_or_program_of_the_server_is_written_or_run(url: str, tmp_path: Path, write: bool) -> None:
    target = tmp_path / "stolen"
    for sql in (
        f"COPY people TO PROGRAM 'tee {target}'",
        f"COPY people TO '{target}'",
        f"SELECT * FROM people INTO OUTFILE '{target}'",  # noqa: S608 - the injection is the point
        f"ATTACH DATABASE '{target}' AS other",
        f"VACUUM INTO '{target}'",
        "SELECT load_extension('x')",
    ):
        with pytest.raises(SqlFailed):
            await _run(url, sql, write=write)
    assert not await asyncio.to_thread(target.exists)


async def test_a_comment_that_mysql_executes_writes_no_file(mysql_url: str, tmp_path: Path) -> None:
    for write in (False, True):
        with pytest.raises(SqlFailed):
            await _run(mysql_url, f"SELECT 1 /*! INTO OUTFILE '{tmp_path / 'stolen'}' */", write=write)


async def test_where_writing_is_allowed_changes_are_counted_and_kept(url: str) -> None:
    assert await _run(url, "UPDATE people SET born = ? WHERE id > ?", "?", 1, write=True) == {"changed": 2}
    assert await _run(url, "INSERT INTO people VALUES (?, ?, ?)", 4, None, "x", write=True) == {"changed": 1}
    assert await _run(url, "DELETE FROM people WHERE id = ?", 1, write=True) == {"changed": 1}
    assert await _run(url, "SELECT count(*) AS n FROM people", write=True) == {"rows": [{"n": 3}]}


async def test_a_statement_that_fails_changes_nothing(url: str) -> None:
    with pytest.raises(SqlFailed):
        await _run(url, "INSERT INTO people VALUES (7, 'x', 'x'), (7, 'y', 'y')", write=True)
    assert await _run(url, "SELECT count(*) AS n FROM people") == {"rows": [{"n": 3}]}


async def test_only_so_many_rows_come_back(url: str) -> None:
    cut = await _run(url, "SELECT id FROM people ORDER BY id", max_rows=2)
    assert cut["rows"] == [{"id": 1}, {"id": 2}]
    assert "first 2 rows" in cut["note"]
    assert "note" not in await _run(url, "SELECT id FROM people", max_rows=3)


ENDLESS = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
    "mysql": "SELECT sleep(60) AS s",
}
HUGE = {
    "sqlite": "SELECT hex(zeroblob(100000000)) AS x",
    "postgresql": "SELECT repeat('x', 100000000) AS x",
    "mysql": "SELECT repeat('x', 10000000) AS x",
}


def _kind(url: str) -> str:
    return next(kind for kind in ENDLESS if url.startswith(kind))


async def test_a_statement_that_takes_too_long_is_stopped_by_the_database(url: str) -> None:
    with pytest.raises(SqlFailed):
        await _run(url, ENDLESS[_kind(url)], timeout=0.2)


async def test_a_value_that_is_too_large_is_left_out_or_refused(url: str) -> None:
    arguments = {"sql": HUGE[_kind(url)]}
    result = ""
    with suppress(SqlFailed):
        result = await (await _tool(url)).call(arguments, _context(url))
    assert len(result) < 1_000


async def test_a_cancelled_call_stops_a_blocking_database_too(sqlite_url: str) -> None:
    tool = await _tool(sqlite_url, timeout=60)
    call = asyncio.create_task(tool.call({"sql": ENDLESS["sqlite"]}, _context(sqlite_url)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await _run(sqlite_url, "SELECT 1 AS x") == {"rows": [{"x": 1}]}


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT nothing FROM people", "SELECT * FROM nowhere", "", " ", ";"])
async def test_a_statement_that_the_database_does_not_understand_is_told_in_its_words(url: str, sql: str) -> None:
    with pytest.raises((SqlFailed, Invalid)) as caught:
        await _run(url, sql)
    assert "Traceback" not in caught.value.detail


@pytest.mark.parametrize("values", [[], [1, 2]])
async def test_too_few_or_too_many_values_are_refused(url: str, values: list[Any]) -> None:
    with pytest.raises((Invalid, SqlFailed)):
        await _run(url, "SELECT name FROM people WHERE id = ?", *values)


async def test_columns_of_one_name_do_not_hide_each_other(sqlite_url: str, mysql_url: str) -> None:
    for url in (sqlite_url, mysql_url):
        assert await _run(url, "SELECT id, id FROM people WHERE id = 1") == {"rows": [{"id": 1, "id_2": 1}]}


async def test_postgresql_reads_dates_numbers_and_json_as_their_types(postgresql_url: str) -> None:
    rows = await _run(
        postgresql_url,
        "SELECT ?::date + 1 AS day, ?::numeric * 2 AS price, ?::jsonb -> 'a' AS inner, ?::timestamptz AS moment",
        "2024-01-31",
        "1.25",
        {"a": [1, 2]},
        "2024-01-01T00:00:00Z",
    )
    assert rows["rows"][0]["day"] == "2024-02-01"
    assert rows["rows"][0]["price"] == 2.5
    assert rows["rows"][0]["inner"] == [1, 2]


async def test_the_description_names_the_kind_of_database_and_its_placeholders(sqlite_url: str) -> None:
    tool = await _tool(sqlite_url, description="The table people has everybody.")
    assert "SQLite" in tool.description
    assert "Placeholders: ?" in tool.description
    assert tool.description.endswith("The table people has everybody.")


async def test_a_database_that_nobody_set_up_is_not_found(sqlite_url: str) -> None:
    (tool,) = await plugin.build({"database": "other"})
    with pytest.raises(NotFound, match="main"):
        await tool.call({"sql": "SELECT 1"}, _context(sqlite_url))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody:wrong@127.0.0.1:1/x",
        "mysql://nobody:wrong@127.0.0.1:1/x",
        "sqlite:////no/such/folder/x.db",
    ],
)
async def test_a_database_that_is_away_is_one_clear_error_without_its_password(url: str) -> None:
    tool = await _tool(url)
    with pytest.raises(DatabaseUnreachable) as caught:
        await tool.call({"sql": "SELECT 1"}, _context(url))
    assert "wrong" not in caught.value.detail
    assert "/no/such" not in caught.value.detail


async def test_a_url_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(Invalid):
        await _tool("oracle://x/y")
