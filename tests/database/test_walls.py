"""Row-level security in every table, tried with rows of two organisations in each of them (S141, abuse 41, 42).

Which tables, policies and functions there are comes from the catalogue.
"""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from agent_factory.database import purge
from agent_factory.database.migrations.walls import CURRENT
from agent_factory.database.session import Database
from agent_factory.kit.errors import Problem
from agent_factory.kit.ids import uuid7
from tests.conftest import new_database
from tests.database.tenants import Tenant

TABLES = sorted({*purge.tenant_tables()} - {"logins", "data_keys"})
"""What requests reach of it."""
_NOT_ALLOWED = "42501"

POLICIES = {
    ("agent_templates", "built_in"): ("r", "(organization_id IS NULL)", None),
    ("mail_outbox", "post"): ("a", None, "true"),
    ("usage_mark", "everyone"): ("*", "true", None),
}
"""The policies of requests that are another than the one of every tenant table."""


@pytest.fixture(scope="module")
async def two(postgres: Any, template: str) -> AsyncGenerator[tuple[Database, Tenant, Tenant]]:
    """A database in which two organisations have a row in every table."""
    async with new_database(postgres.url, f"TEMPLATE {template}") as url:
        database = Database(url)
        account = uuid7()
        async with database.system() as session:
            statement = text("insert into accounts (id, email) values (:id, 'shared@example.com')")
            await session.execute(statement, {"id": account})
        mine, theirs = Tenant(database), Tenant(database)
        for each in (mine, theirs):
            await each.fill(account, account)
        yield database, mine, theirs
        await database.close()


async def _allowed(database: Database, table: str, right: str) -> bool:
    return await database.pool.fetchval("select has_table_privilege('af_app', $1, $2)", table, right)


async def _undone(database: Database, organization_id: UUID, statement: str, **values: Any) -> list[Any]:
    """Run a statement as an organisation's request, and undo it."""
    async with database._app.connect() as connection, connection.begin() as transaction:
        setting = text("select set_config('app.org_id', :o, true)")
        await connection.execute(setting, {"o": str(organization_id)})
        try:
            done = await connection.execute(text(statement), values)
            return list(done.all()) if done.returns_rows else []
        finally:
            await transaction.rollback()


@pytest.mark.parametrize("table", TABLES)
async def test_in_every_table_an_organisation_reads_changes_and_removes_its_own_rows_only(
    two: tuple[Database, Tenant, Tenant], table: str
) -> None:
    database, mine, theirs = two
    there = {"o": theirs.id}
    own = await _undone(database, mine.id, f"select organization_id from {table}")  # noqa: S608 - names from the models, here and below
    assert {row[0] for row in own} == {mine.id}
    assert await _undone(database, mine.id, f"select 1 from {table} where organization_id = :o", **there) == []  # noqa: S608
    if await _allowed(database, table, "UPDATE"):
        change = f"update {table} set organization_id = organization_id where organization_id = :o returning 1"  # noqa: S608
        assert await _undone(database, mine.id, change, **there) == []
        with pytest.raises(DBAPIError) as refused:
            await _undone(database, mine.id, f"update {table} set organization_id = :o", **there)  # noqa: S608
        assert getattr(refused.value.orig, "sqlstate", None) == _NOT_ALLOWED, refused.value
    if await _allowed(database, table, "DELETE"):
        remove = f"delete from {table} where organization_id = :o returning 1"  # noqa: S608
        assert await _undone(database, mine.id, remove, **there) == []


@pytest.mark.parametrize("table", TABLES)
async def test_in_no_table_a_row_is_written_for_another_organisation(
    two: tuple[Database, Tenant, Tenant], table: str
) -> None:
    """The policy's check, and not a constraint: it is looked at first."""
    database, mine, theirs = two
    if not await _allowed(database, table, "INSERT"):
        return
    columns = [
        row["attname"]
        for row in await database.pool.fetch(
            "select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped"
            " and attgenerated = ''",
            table,
        )
    ]
    taken = ", ".join(":o" if name == "organization_id" else name for name in columns)
    copy = f"insert into {table} ({', '.join(columns)}) select {taken} from {table} limit 1"  # noqa: S608
    with pytest.raises((DBAPIError, Problem)) as refused:
        await _undone(database, mine.id, copy, o=theirs.id)
    original = getattr(refused.value, "orig", None)
    assert getattr(original, "sqlstate", None) == _NOT_ALLOWED, refused.value


async def test_every_policy_of_requests_is_the_same_but_for_the_reviewed(database: Database) -> None:
    """For all commands, with a check; `USING` alone is both."""
    rows = await database.pool.fetch(
        """
        select c.relname as name, p.polname, p.polcmd::text as command, p.polpermissive as permissive,
            pg_get_expr(p.polqual, p.polrelid) as sees, pg_get_expr(p.polwithcheck, p.polrelid) as writes
        from pg_policy p join pg_class c on c.oid = p.polrelid
        where 'af_app'::regrole = any(p.polroles) or 0 = any(p.polroles)
        """
    )
    plain = str.maketrans("", "", "()")
    for row in rows:
        known = POLICIES.get((row["name"], row["polname"]))
        if known is not None:
            assert (row["command"], row["sees"], row["writes"]) == known
            continue
        column = "id" if row["name"] == "organizations" else "organization_id"
        assert (row["command"], row["permissive"], row["writes"]) == ("*", True, None), row["name"]
        sees = row["sees"].lower().replace("::text", "").translate(plain)
        assert sees == f"{column} = {CURRENT}".translate(plain), row["name"]


async def test_no_function_runs_with_more_rights_than_its_caller_but_triggers_and_the_systems(
    database: Database,
) -> None:
    rows = await database.pool.fetch(
        """
        select p.oid::regprocedure::text as name, p.prorettype = 'trigger'::regtype as is_trigger,
            has_function_privilege('af_app', p.oid, 'EXECUTE') as for_requests
        from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prosecdef
        """
    )
    assert {row["name"] for row in rows if not row["is_trigger"] and row["for_requests"]} == set()
    assert {row["name"] for row in rows if row["is_trigger"]} == {"enlist_audit_event()"}


async def test_views_see_what_their_reader_may_and_there_are_no_sequences(database: Database) -> None:
    """A view runs with its owner's rights unless it says otherwise; a sequence tells how much others have."""
    rows = await database.pool.fetch(
        "select relname, relkind::text as kind, reloptions from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind in ('v', 'm', 'S')"
    )
    assert [row["relname"] for row in rows if row["kind"] != "v"] == []
    assert all("security_invoker=true" in (row["reloptions"] or ()) for row in rows)


@pytest.mark.parametrize(
    "trick",
    [
        "alter table agents disable trigger all",
        "alter table audit_events disable trigger user",
        "alter role af_app bypassrls",
        "alter role af_app superuser",
        "create role mine",
        "create schema mine",
        "create function public.f() returns int language sql security definer as 'select 1'",
        "create view public.v as select * from agents",
        "alter function claim_runs(text, int, int, int, uuid[], uuid) security definer",
        "alter database postgres set row_security = off",
        "grant af_system to af_app",
        "create trigger t before insert on agents for each row execute function refuse_change()",
        "select drop_run_partitions(now())",
        "select make_run_partitions(now(), 1)",
        "select claim_runs('x', 1, 1, 1, '{}'::uuid[], null)",
        "set session_replication_role = replica",
        "copy agents to program 'true'",
        "select pg_read_file('PG_VERSION')",
        "select * from pg_authid",
        "select lo_import('/etc/hostname')",
        "delete from audit_events",
        "update audit_seals set hash = ''",
        "insert into audit_seals select * from audit_seals",
        "select * from audit_keys",
        "select * from accounts",
        "select * from mail_outbox",
    ],
)
async def test_the_role_of_requests_has_no_way_around_the_wall(
    two: tuple[Database, Tenant, Tenant], trick: str
) -> None:
    database, mine, _ = two
    with pytest.raises(DBAPIError) as refused:
        await _undone(database, mine.id, trick)
    assert getattr(refused.value.orig, "sqlstate", None) == _NOT_ALLOWED, refused.value


async def test_statistics_show_no_values_of_others(two: tuple[Database, Tenant, Tenant]) -> None:
    """What PostgreSQL has gathered of a table has values of all organisations in it."""
    database, mine, _ = two
    owner = await asyncpg.connect(database.url)
    try:
        await owner.execute("analyze")
        gathered = await owner.fetchval("select count(*) from pg_stats where tablename = 'agents'")
    finally:
        await owner.close()
    names = ", ".join(f"'{table}'" for table in [*TABLES, "organizations"])
    seen = f"select tablename, attname from pg_stats where schemaname = 'public' and tablename in ({names})"  # noqa: S608
    assert await _undone(database, mine.id, seen) == []
    assert gathered is not None


async def test_what_others_are_asking_is_not_shown(two: tuple[Database, Tenant, Tenant]) -> None:
    database, mine, theirs = two

    seen = "select query from pg_stat_activity where query like '%secret of%' and pid <> pg_backend_pid()"
    owner = await asyncpg.connect(database.url)
    try:
        async with database.read(theirs.id) as session:
            await session.execute(text("select 'a secret of theirs'"))
            assert len(await owner.fetch(seen)) == 1
            assert await _undone(database, mine.id, seen) == []
    finally:
        await owner.close()


async def test_a_reference_to_what_is_anothers_fails_as_one_to_nothing(two: tuple[Database, Tenant, Tenant]) -> None:
    """A foreign key asks without row-level security: it must not tell what there is elsewhere."""
    database, mine, theirs = two
    told: list[str] = []
    for agent_id in (theirs.known["agents", "id"], uuid7()):
        grant = (
            "insert into grants (id, organization_id, user_id, agent_id, rights)"
            " select gen_random_uuid(), :o, id, :agent, '{}' from users limit 1"
        )
        with pytest.raises((DBAPIError, Problem)) as refused:
            await _undone(database, mine.id, grant, o=mine.id, agent=agent_id)
        told.append(str(refused.value).replace(str(agent_id), "…").replace(repr(agent_id), "…"))
    assert told[0] == told[1]
