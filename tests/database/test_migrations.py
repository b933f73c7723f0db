"""The schema's history leads to the models, back, and there again, whoever asks for it and how often."""

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from agent_factory.database import migrations
from agent_factory.database.base import Base
from agent_factory.database.driver import connector
from agent_factory.database.embedded import Server
from agent_factory.database.migrations import MissingRight, configuration, head, in_models, migrate
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.kit.errors import Unavailable

VERSIONS = sorted((Path(migrations.__file__).parent / "versions").glob("[0-9]*.py"))


async def over(url: str, function: Callable[[Connection], Any]) -> Any:
    connect = connector(url, None, DatabaseSettings())
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        return await connection.run_sync(function)


async def ask(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


OPTIONS = {"compare_server_default": True, "compare_type": True, "include_name": in_models}


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts=OPTIONS)
    return compare_metadata(context, Base.metadata)


TABLES = """
SELECT count(*) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND relname <> 'alembic_version'
"""
FUNCTIONS = """
SELECT count(*) FROM pg_proc JOIN pg_language l ON l.oid = prolang
WHERE pronamespace = 'public'::regnamespace AND lanname IN ('sql', 'plpgsql')
"""
PARTITIONS = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relispartition"


async def test_the_history_goes_up_down_and_up_and_ends_at_the_models(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    assert await ask(empty_database_url, TABLES) == len(Base.metadata.tables)
    assert await over(empty_database_url, differences) == []
    await migrate(empty_database_url, "base")
    assert await ask(empty_database_url, TABLES) == 0
    assert await ask(empty_database_url, PARTITIONS) == 0
    assert await ask(empty_database_url, FUNCTIONS) == 0
    await migrate(empty_database_url)
    assert await over(empty_database_url, differences) == []


async def test_each_step_can_be_taken_back_alone(empty_database_url: str) -> None:
    for path in VERSIONS:
        revision = path.name.partition("_")[0]
        await migrate(empty_database_url, revision)
        await migrate(empty_database_url, f"{int(revision) - 1:04}" if int(revision) > 1 else "base")
        await migrate(empty_database_url, revision)
    assert await over(empty_database_url, differences) == []


async def test_the_head_is_read_from_file_names_as_alembic_reads_it_from_the_files(empty_database_url: str) -> None:
    def heads(connection: Connection) -> list[str]:
        return list(ScriptDirectory.from_config(configuration(connection)).get_heads())

    assert await over(empty_database_url, heads) == [head()]


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_every_step_gives_up_rather_than_wait_long_for_a_lock(path: Path) -> None:
    source = path.read_text()
    for way in ("upgrade", "downgrade"):
        first = re.search(rf"def {way}\(\) -> None:\n +(.*)", source)
        assert first is not None
        assert "SET LOCAL lock_timeout" in first.group(1)


async def test_at_the_head_nothing_is_done(fresh_database_url: str) -> None:
    before = await ask(fresh_database_url, "SELECT xmin::text FROM alembic_version")
    await migrate(fresh_database_url)
    assert await ask(fresh_database_url, "SELECT xmin::text FROM alembic_version") == before


async def test_processes_that_start_together_migrate_once(empty_database_url: str) -> None:
    await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert await over(empty_database_url, differences) == []


MIGRATE = (
    "import asyncio, sys; from agent_factory.database.migrations import migrate; asyncio.run(migrate(sys.argv[1]))"
)


async def test_two_databases_of_one_server_can_be_migrated_together(
    empty_database_url: str, fresh_database_url: str
) -> None:
    """Each in a process of its own, as two products on one server would."""
    await migrate(fresh_database_url, "base")
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATE, empty_database_url)
    await migrate(fresh_database_url)
    assert await other.wait() == 0
    assert await ask(empty_database_url, TABLES) == await ask(fresh_database_url, TABLES)


async def test_a_login_that_may_make_no_roles_is_told_what_it_needs(poor_url: str, template: str) -> None:
    with pytest.raises(MissingRight, match="CREATEROLE"):
        await migrate(poor_url)
    assert await ask(poor_url, TABLES) == 0


async def test_a_login_that_was_given_the_roles_needs_no_right_to_make_them(
    poor_url: str, postgres: Server, template: str
) -> None:
    await ask(postgres.url, "GRANT af_app, af_system TO poor WITH INHERIT FALSE, SET TRUE")
    await migrate(poor_url)
    database = Database(poor_url)
    try:
        assert await database.pool.fetchval("SELECT count(*) FROM organizations") == 0
    finally:
        await database.close()


async def test_an_unmigrated_database_says_so(empty_database_url: str, template: str) -> None:
    database = Database(empty_database_url)
    try:
        with pytest.raises(Unavailable, match="migrations"):
            await database.pool.fetch("SELECT id FROM runs")
    finally:
        await database.close()


ROWS = """
CREATE FUNCTION made(kind int, number int) RETURNS uuid LANGUAGE sql IMMUTABLE
    AS $$ SELECT ('00000000-0000-7000-8000-' || lpad((kind * 1000000 + number)::text, 12, '0'))::uuid $$;
ALTER TABLE organizations NO FORCE ROW LEVEL SECURITY;
ALTER TABLE users NO FORCE ROW LEVEL SECURITY;
ALTER TABLE agents NO FORCE ROW LEVEL SECURITY;
ALTER TABLE runs NO FORCE ROW LEVEL SECURITY;
INSERT INTO organizations (id, name) SELECT made(0, n), 'o' FROM generate_series(1, 20) n;
INSERT INTO users (id, organization_id, email, role)
    SELECT made(1, n), made(0, n % 20 + 1), n || '@example.com', CASE WHEN n % 50 < 20 THEN 'owner' ELSE 'developer' END
    FROM generate_series(1, 5000) n;
INSERT INTO agents (id, organization_id, name, status)
    SELECT made(2, n), made(0, n % 20 + 1), n::text, CASE WHEN n % 50 < 20 THEN 'deployed' ELSE 'draft' END
    FROM generate_series(1, 5000) n;
INSERT INTO runs (id, organization_id, agent_id, started_at)
    SELECT made(3, n), made(0, CASE WHEN n % 100 = 0 THEN 7 ELSE 1 END), made(2, n % 99), now() - n * interval '1 s'
    FROM generate_series(1, 5000) n;
ANALYZE;
"""
QUERIES = {
    "idx_agents_organization_status": (
        "SELECT id FROM agents WHERE organization_id = made(0, 7) AND status IN ('active', 'deployed')"
    ),
    "idx_users_org_role": "SELECT id FROM users WHERE organization_id = made(0, 7) AND role = 'owner'",
    "idx_runs_agent_started": "SELECT id FROM runs WHERE agent_id = made(2, 7) ORDER BY started_at DESC LIMIT 20",
    "idx_runs_organization": "SELECT id FROM runs WHERE organization_id = made(0, 7) ORDER BY id DESC LIMIT 20",
    "uq_users_organization_email": (
        "SELECT id FROM users WHERE organization_id = made(0, 7) AND lower(email) = '7@example.com'"
    ),
}


async def test_the_specified_indexes_serve_their_queries(fresh_database_url: str) -> None:
    """S155, S157, and S156 for runs: EXPLAIN names the index among thousands of rows."""
    connection = await asyncpg.connect(fresh_database_url)
    try:
        await connection.execute(ROWS)
        for index, query in QUERIES.items():
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}"))
            parts = await connection.fetch(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass", index
            )
            assert any(name in plan for name in (index, *(part[0] for part in parts))), plan
    finally:
        await connection.close()
