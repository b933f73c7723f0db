"""Single statements and notifications outside sessions, and the errors that values cause."""

import asyncio

import pytest
from pydantic import ValidationError

from agent_factory.database.errors import StatementTimeout
from agent_factory.database.models import AgentRow, SessionRow
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.kit.errors import Conflict, Invalid, Unavailable
from agent_factory.security.auth import Actor


async def test_json_goes_in_and_comes_out_as_text(database: Database) -> None:
    assert await database.pool.fetchval("SELECT $1::jsonb", '{"a": [1, null]}') == '{"a": [1, null]}'


async def test_statements_run_in_the_role_of_the_system(database: Database) -> None:
    row = await database.pool.fetchrow("SELECT current_user AS role, session_user <> current_user AS lowered")
    assert row is not None
    assert (row["role"], row["lowered"]) == ("af_system", True)


async def test_a_transaction_of_the_pool_rolls_back_on_an_error(database: Database, actor: Actor) -> None:
    async def fail() -> None:
        async with database.pool.transaction() as connection:
            await connection.execute("UPDATE users SET name = 'changed' WHERE id = $1", actor.user_id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await database.pool.fetchval("SELECT name FROM users WHERE id = $1", actor.user_id) == "Owner"


async def test_more_callers_than_connections_all_get_their_turn(database_url: str) -> None:
    database = Database(database_url, DatabaseSettings(pool_size=2))
    try:
        got = await asyncio.gather(*(database.pool.fetchval("SELECT $1::int", n) for n in range(50)))
        assert got == list(range(50))
    finally:
        await database.close()


async def test_a_cancelled_statement_gives_its_connection_back(database_url: str) -> None:
    database = Database(database_url, DatabaseSettings(pool_size=2))
    try:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await database.pool.fetch("SELECT pg_sleep(60)")
        assert await database.pool.fetchval("SELECT 1") == 1
    finally:
        await database.close()


async def test_a_notification_reaches_every_listener_until_it_stops_listening(database: Database) -> None:
    first: asyncio.Queue[str] = asyncio.Queue()
    second: asyncio.Queue[str] = asyncio.Queue()
    hear_first, hear_second = first.put_nowait, second.put_nowait
    await database.listen("gossip", hear_first)
    await database.listen("gossip", hear_second)
    await database.pool.execute("SELECT pg_notify('gossip', 'one')")
    assert (await first.get(), await second.get()) == ("one", "one")
    await database.unlisten("gossip", hear_first)
    await database.pool.execute("SELECT pg_notify('gossip', 'two')")
    assert await second.get() == "two"
    assert first.empty()
    await database.unlisten("gossip", hear_second)


async def test_who_stops_listening_need_not_know_whether_the_connection_is_still_there(database_url: str) -> None:
    database = Database(database_url)
    heard: list[str] = []
    for channel in ("gossip", "news"):
        await database.listen(channel, heard.append)
    connection = database._listener._connection
    assert connection is not None
    connection.terminate()
    await database.unlisten("gossip", heard.append)
    await database.close()
    await database.unlisten("news", heard.append)


def test_one_connection_is_refused_with_the_reason() -> None:
    with pytest.raises(ValidationError, match="at least 2 are needed: the scheduler holds one"):
        DatabaseSettings(pool_size=1)


async def test_a_statement_over_its_time_ends_as_a_timeout_of_the_database(database_url: str) -> None:
    database = Database(database_url, DatabaseSettings(statement_timeout=0.05))
    try:
        with pytest.raises(StatementTimeout, match="too long"):
            await database.pool.fetch("SELECT pg_sleep(60)")
    finally:
        await database.close()


async def test_a_lock_that_is_not_given_in_time_is_a_busy_database(database_url: str, actor: Actor) -> None:
    database = Database(database_url, DatabaseSettings(lock_timeout=0.05))
    try:
        async with database.pool.transaction() as connection:
            await connection.execute("SELECT 1 FROM users WHERE id = $1 FOR UPDATE", actor.user_id)
            with pytest.raises(Unavailable, match="busy"):
                await database.pool.execute("UPDATE users SET name = 'late' WHERE id = $1", actor.user_id)
    finally:
        await database.close()


async def test_no_free_connection_in_time_is_a_busy_database(database_url: str, actor: Actor) -> None:
    database = Database(database_url, DatabaseSettings(pool_size=2, pool_timeout=0.05))
    try:
        async with database.read(actor.organization_id), database.read(actor.organization_id):
            with pytest.raises(Unavailable, match="busy"):
                async with database.read(actor.organization_id):
                    pass
    finally:
        await database.close()


@pytest.mark.parametrize("name", ["nul \x00", "x" * 256, "\ud800"], ids=["nul", "too long", "surrogate"])
async def test_text_that_cannot_be_stored_is_invalid(database: Database, actor: Actor, name: str) -> None:
    with pytest.raises(Invalid, match="cannot be stored"):
        async with database.write(actor.organization_id) as session:
            session.add(AgentRow(organization_id=actor.organization_id, name=name))


async def test_json_with_a_nul_character_is_invalid(database: Database, actor: Actor) -> None:
    with pytest.raises(Invalid, match="cannot be stored"):
        async with database.write(actor.organization_id) as session:
            session.add(SessionRow(organization_id=actor.organization_id, data={"text": "nul \x00"}))


async def test_a_number_out_of_range_is_invalid(database: Database, actor: Actor) -> None:
    with pytest.raises(Invalid, match="cannot be stored"):
        async with database.write(actor.organization_id) as session:
            session.add(AgentRow(organization_id=actor.organization_id, name="big", revision=2**31))


async def test_a_taken_row_is_the_same_conflict_without_a_session(database: Database, actor: Actor) -> None:
    with pytest.raises(Conflict, match="e-mail address is in use"):
        await database.pool.execute(
            "INSERT INTO users (id, organization_id, email) "
            "SELECT gen_random_uuid(), organization_id, upper(email) FROM users WHERE id = $1",
            actor.user_id,
        )


async def test_errors_of_the_caller_are_not_taken_for_errors_of_the_database(database: Database, actor: Actor) -> None:
    async def fail() -> None:
        async with database.write(actor.organization_id):
            raise FileNotFoundError("of the caller")

    with pytest.raises(FileNotFoundError):
        await fail()
