"""People who were there before roles had the specification's names keep what they may do."""

import asyncpg
import pytest

from agent_factory.database.migrations import migrate
from agent_factory.kit.ids import uuid7
from agent_factory.security.rbac import ROLES

BEFORE = {"owner": "organization_owner", "organization_admin": "admin", "developer": "developer", "own": "own"}


@pytest.mark.timeout(120)
async def test_the_roles_of_those_who_are_there_get_the_specifications_names(empty_database_url: str) -> None:
    await migrate(empty_database_url, "0003")
    connection = await asyncpg.connect(empty_database_url)
    try:
        organization_id = uuid7()
        await connection.execute("ALTER TABLE organizations NO FORCE ROW LEVEL SECURITY")
        await connection.execute("ALTER TABLE users NO FORCE ROW LEVEL SECURITY")
        await connection.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Home')", organization_id)
        for role in BEFORE:
            insert = "INSERT INTO users (id, organization_id, email, role) VALUES ($1, $2, $3, $4)"
            await connection.execute(insert, uuid7(), organization_id, f"{role}@localhost", role)
        await connection.execute("ALTER TABLE users FORCE ROW LEVEL SECURITY")
        await migrate(empty_database_url)
        forced = await connection.fetchval("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'users'")
        await connection.execute("SET ROLE af_system")
        rows = await connection.fetch("SELECT email, role FROM users")
    finally:
        await connection.close()
    assert {row["email"].partition("@")[0]: row["role"] for row in rows} == BEFORE
    assert {"organization_owner", "admin"} <= ROLES.keys()
    assert forced
