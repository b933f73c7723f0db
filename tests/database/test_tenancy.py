"""The second wall: PostgreSQL itself shows an organisation nothing but its own rows (S141)."""

import asyncio
import os
import random

import asyncpg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from agent_factory.database.base import Base, owned_by
from agent_factory.database.models import AgentRow, AgentTemplateRow, AgentVersionRow, UserRow
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.kit.errors import Conflict
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor

TENANT_TABLES = sorted(
    {"organizations"} | {name for name, table in Base.metadata.tables.items() if "organization_id" in table.columns}
)
SEEN_BY_SYSTEM = {
    "audit_events",
    "audit_seals",
    "organizations",
    "users",
    "api_keys",
    "idempotency_keys",
    "agents",
    "sessions",
    "messages",
    "run_snapshots",
    "runs",
    "run_steps",
    "workflows",
    "triggers",
    "trigger_ticks",
    "events",
    "run_waits",
    "approvals",
    "budgets",
    "quotas",
    "meters",
    "reservations",
    "usage_days",
    "organization_origins",
    "data_keys",
    "secrets",
    "roles",
    "teams",
    "team_members",
    "grants",
    "invitations",
    "logins",
}
OF_THE_SYSTEM = {"data_keys", "logins"}
"""Tables that requests have no right to at all, although their rows name an organisation."""

READS = 100_000 if "AF_SLOW_PROOFS" in os.environ else 400  # noqa: TID251 - a test's own switch, no setting of the product
"""Transactions of the proof that a pooled connection shows no foreign row; the long form by `./dev load`."""


async def keep_agent(database: Database, actor: Actor, name: str) -> AgentRow:
    async with database.write(actor.organization_id) as session:
        row = AgentRow(organization_id=actor.organization_id, name=name, created_by=actor.user_id)
        session.add(row)
    return row


async def test_every_table_with_an_organisation_has_forced_row_level_security(database: Database) -> None:
    rows = await database.pool.fetch(
        """
        SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS walled,
               array(SELECT r.rolname::text FROM pg_policy p JOIN pg_roles r ON r.oid = ANY (p.polroles)
                     WHERE p.polrelid = c.oid ORDER BY 1) AS roles
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
          AND (c.relname = 'organizations' OR EXISTS (
              SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id'))
        ORDER BY 1
        """
    )
    assert [row["name"] for row in rows] == TENANT_TABLES
    for row in rows:
        assert row["walled"], row["name"]
        assert ("af_app" in row["roles"]) == (row["name"] not in OF_THE_SYSTEM), row["name"]
        assert ("af_system" in row["roles"]) == (row["name"] in SEEN_BY_SYSTEM), row["name"]


async def test_no_role_of_ours_can_step_over_the_wall(database: Database) -> None:
    rows = await database.pool.fetch(
        "SELECT rolname, rolsuper, rolbypassrls, rolcanlogin, rolcreaterole FROM pg_roles WHERE rolname LIKE 'af\\_%'"
    )
    assert sorted(row["rolname"] for row in rows) == ["af_app", "af_system"]
    for row in rows:
        assert not any(row[right] for right in ("rolsuper", "rolbypassrls", "rolcanlogin", "rolcreaterole"))


async def test_public_has_no_right_to_any_table(database: Database) -> None:
    assert (
        await database.pool.fetchval(
            "SELECT count(*) FROM information_schema.role_table_grants "
            "WHERE grantee = 'PUBLIC' AND table_schema = 'public'"
        )
        == 0
    )


@pytest.mark.parametrize("table", sorted(OF_THE_SYSTEM))
async def test_a_request_has_no_right_to_what_is_the_systems_alone(
    database: Database, actor: Actor, table: str
) -> None:
    for right in ("SELECT *", "DELETE"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with database.write(actor.organization_id) as session:
                await session.execute(text(f"{right} FROM {table}"))


@pytest.mark.parametrize("table", sorted(set(TENANT_TABLES) - OF_THE_SYSTEM))
async def test_without_an_organisation_a_request_sees_no_row(database: Database, actor: Actor, table: str) -> None:
    """Abuse 41."""
    await keep_agent(database, actor, "support")
    async with database.read(actor.organization_id) as session:
        for nobody in ("", None):
            await session.execute(text("SELECT set_config('app.org_id', :nobody, true)"), {"nobody": nobody})
            assert await session.scalar(text(f"SELECT count(*) FROM {table}")) == 0  # noqa: S608 - our own names


async def test_another_organisation_reads_changes_and_deletes_nothing(
    database: Database, actor: Actor, other_actor: Actor
) -> None:
    mine = await keep_agent(database, actor, "support")
    async with database.write(other_actor.organization_id) as session:
        assert await session.get(AgentRow, mine.id) is None
        assert (await session.execute(text("UPDATE agents SET name = 'stolen' RETURNING id"))).all() == []
        assert (await session.execute(text("DELETE FROM agents RETURNING id"))).all() == []
        assert (await session.scalars(select(UserRow.id))).all() == [other_actor.user_id]
    async with database.read(actor.organization_id) as session:
        assert (await session.scalars(owned_by(actor, AgentRow))).one().name == "support"


async def test_a_row_cannot_be_written_into_another_organisation(
    database: Database, actor: Actor, other_actor: Actor
) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with database.write(actor.organization_id) as session:
            session.add(AgentRow(organization_id=other_actor.organization_id, name="planted"))


async def test_a_row_cannot_point_into_another_organisation(
    database: Database, actor: Actor, other_actor: Actor
) -> None:
    mine = await keep_agent(database, actor, "support")
    with pytest.raises(Conflict):
        async with database.write(other_actor.organization_id) as session:
            session.add(
                AgentVersionRow(
                    organization_id=other_actor.organization_id, head_id=mine.id, number=1, definition={}, digest="0"
                )
            )


@pytest.mark.parametrize(
    "trick",
    [
        "SET LOCAL row_security = off; SELECT * FROM agents",
        "ALTER TABLE agents DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE agents NO FORCE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON agents USING (true)",
        "DROP POLICY tenant ON agents",
        "CREATE TABLE public.loot AS SELECT 1",
        "TRUNCATE agents",
        "SELECT * FROM alembic_version",
        "SELECT * FROM processes",
        "UPDATE agent_versions SET digest = ''",
        "INSERT INTO organizations (id, name) VALUES (gen_random_uuid(), 'mine')",
    ],
)
async def test_the_role_of_requests_cannot_lift_the_wall(database: Database, actor: Actor, trick: str) -> None:
    await keep_agent(database, actor, "support")

    async def attack() -> None:
        async with database.write(actor.organization_id) as session:
            for statement in trick.split("; "):
                await session.execute(text(statement))

    with pytest.raises(DBAPIError) as refused:
        await attack()
    assert refused.value.orig is not None
    assert getattr(refused.value.orig, "sqlstate", None) == "42501"


async def test_a_version_never_changes_even_for_the_owner_of_the_table(fresh_database_url: str) -> None:
    connection = await asyncpg.connect(fresh_database_url)
    try:
        await connection.execute("ALTER TABLE agent_versions NO FORCE ROW LEVEL SECURITY")
        await connection.execute(
            "ALTER TABLE agent_versions DROP CONSTRAINT fk_agent_versions_organization_id_agent_id"
        )
        await connection.execute(
            "INSERT INTO agent_versions (id, organization_id, agent_id, number, definition, digest) "
            "VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, '{}', '0')"
        )
        with pytest.raises(asyncpg.RestrictViolationError, match="never changes"):
            await connection.execute("UPDATE agent_versions SET digest = '1'")
    finally:
        await connection.close()


async def test_templates_without_an_organisation_are_seen_by_all_and_changed_by_none(
    database: Database, actor: Actor, other_actor: Actor
) -> None:
    async with database.write(actor.organization_id) as session:
        session.add(AgentTemplateRow(organization_id=actor.organization_id, name="mine", configuration={}))
    async with database.read(other_actor.organization_id) as session:
        assert (await session.scalars(select(AgentTemplateRow))).all() == []
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with database.write(actor.organization_id) as session:
            session.add(AgentTemplateRow(organization_id=None, name="for all", configuration={}))


async def test_the_system_role_sees_all_users_but_no_definition_and_changes_no_agent(
    database: Database, actor: Actor, other_actor: Actor
) -> None:
    await keep_agent(database, actor, "support")
    async with database.system() as session:
        seen = set((await session.scalars(select(UserRow.id))).all())
    assert {actor.user_id, other_actor.user_id} <= seen
    for statement in ("SELECT * FROM agent_versions", "UPDATE agents SET name = 'stolen'"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.pool.execute(statement)


async def test_a_read_session_cannot_write(database: Database, actor: Actor) -> None:
    async def misuse() -> None:
        async with database.read(actor.organization_id) as session:
            session.add(AgentRow(organization_id=actor.organization_id, name="support"))
            await session.flush()

    with pytest.raises(DBAPIError, match="read-only"):
        await misuse()
    async with database.write(actor.organization_id) as session:
        session.add(AgentRow(organization_id=actor.organization_id, name="support"))


class Readers:
    """Transactions that read what their organisation has, and end well or badly."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.dice = random.Random(20261121)  # noqa: S311 - a repeatable mixture, no secret
        self.seen = self.foreign = 0
        self.finished: dict[str, int] = {"read": 0, "cancelled": 0, "rolled back": 0}

    async def read(self, owner: Actor, how: float) -> None:
        async with self.database.write(owner.organization_id) as session:
            if how < 0.3:
                await session.execute(text("SELECT pg_sleep(:s)"), {"s": how / 20})
            rows = (await session.scalars(select(AgentRow))).all()
            self.seen += len(rows)
            self.foreign += sum(row.organization_id != owner.organization_id for row in rows)
            if how > 0.7:
                raise ZeroDivisionError

    async def one(self, owner: Actor) -> None:
        how = self.dice.random()
        task = asyncio.create_task(self.read(owner, how))
        if how < 0.5:
            asyncio.get_running_loop().call_later(self.dice.random() / 50, task.cancel)
        try:
            await task
            self.finished["read"] += 1
        except asyncio.CancelledError:
            self.finished["cancelled"] += 1
        except ZeroDivisionError:
            self.finished["rolled back"] += 1


async def test_pooled_connections_show_no_foreign_row_whatever_is_cancelled_or_rolled_back(
    database_url: str, actor: Actor, other_actor: Actor
) -> None:
    """Abuse 42. Transactions of two organisations share three connections, and many end badly."""
    database = Database(database_url, DatabaseSettings(pool_size=3, pool_timeout=60))
    for owner in (actor, other_actor):
        for number in range(5):
            await keep_agent(database, owner, f"agent-{number}")
    readers = Readers(database)
    try:
        while sum(readers.finished.values()) < READS:
            await asyncio.gather(*(readers.one(readers.dice.choice((actor, other_actor))) for _ in range(400)))
        async with database.read(uuid7()) as session:
            assert (await session.scalars(select(AgentRow))).all() == []
    finally:
        await database.close()
    assert all(readers.finished.values()), readers.finished
    assert readers.seen > READS
    assert readers.foreign == 0
