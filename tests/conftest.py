"""What every test may ask for: the embedded PostgreSQL, a migrated database, and organisations in it."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.database.models import OrganizationRow, UserRow
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor
from agent_factory.security.encryption import EncryptionSettings, Vault, open_vault
from tests.abuse.cases import citing
from tests.keyfile import KEY_FILE

# A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.doubles.fixtures", "tests.serving"]

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings for servers whose data nobody misses."""


@pytest.fixture(scope="session")
async def postgres() -> AsyncGenerator[Server, None]:
    """A running embedded PostgreSQL, one a test process; not to be stopped by tests."""
    with tempfile.TemporaryDirectory(prefix="af-test-") as folder:
        server = Server(Path(folder) / "postgres", FAST)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


@pytest.fixture(scope="session")
async def template(postgres: Server) -> str:
    """The name of a migrated database that nobody is connected to, to copy others from."""
    await _order(postgres.url, "CREATE DATABASE pristine")
    await migrate(_named(postgres.url, "pristine"))
    return "pristine"


@pytest.fixture
async def empty_database_url(postgres: Server) -> AsyncGenerator[str, None]:
    """The URL of a new database without tables, dropped after the test."""
    async with new_database(postgres.url, "") as url:
        yield url


@pytest.fixture
async def fresh_database_url(postgres: Server, template: str) -> AsyncGenerator[str, None]:
    """The URL of a new migrated database without rows, dropped after the test."""
    async with new_database(postgres.url, f"TEMPLATE {template}") as url:
        yield url


@pytest.fixture(scope="session")
async def database_url(postgres: Server, template: str) -> AsyncGenerator[str, None]:
    """The URL of the migrated database that the tests of one process share."""
    async with new_database(postgres.url, f"TEMPLATE {template}") as url:
        yield url


@pytest.fixture(scope="session")
async def database(database_url: str) -> AsyncGenerator[Database, None]:
    """The shared migrated database; keep to your own `organization` in it."""
    opened = Database(database_url, DatabaseSettings())
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def vault(database: Database) -> Vault:
    """The vault of the shared database."""
    return open_vault(EncryptionSettings(key_file=KEY_FILE), database.pool, KEY_FILE.parent)


@pytest.fixture
def new_actor(database: Database) -> Callable[[], Awaitable[Actor]]:
    """Make the owner of a fresh organisation, with the rows of both."""

    async def make() -> Actor:
        organization_id, user_id = uuid7(), uuid7()
        async with database.system() as session:
            session.add(OrganizationRow(id=organization_id, name=f"Organisation {organization_id}"))
            await session.flush()
            session.add(
                UserRow(
                    id=user_id,
                    organization_id=organization_id,
                    email=f"{user_id}@example.com",
                    name="Owner",
                    role="organization_owner",
                )
            )
        return Actor(
            organization_id=organization_id, user_id=user_id, role="organization_owner", rights=frozenset({"*"})
        )

    return make


@pytest.fixture
async def actor(new_actor: Callable[[], Awaitable[Actor]]) -> Actor:
    """The owner of a fresh organisation; `organization` is the same one."""
    return await new_actor()


@pytest.fixture
async def other_actor(new_actor: Callable[[], Awaitable[Actor]]) -> Actor:
    """The owner of another fresh organisation."""
    return await new_actor()


@pytest.fixture
def organization(actor: Actor) -> UUID:
    """The id of a fresh organisation that has its owner."""
    return actor.organization_id


@asynccontextmanager
async def new_database(server_url: str, source: str) -> AsyncGenerator[str, None]:
    """Make a database, from a `TEMPLATE` or empty, and drop it in the end; gives its URL."""
    name = f"test_{uuid7().hex}"
    await _order(server_url, f"CREATE DATABASE {name} {source}")
    try:
        yield _named(server_url, name)
    finally:
        await _dropped(server_url, name)


async def _dropped(server_url: str, name: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await _order(server_url, f"DROP DATABASE {name} WITH (FORCE)")
            except asyncpg.InsufficientPrivilegeError:
                await asyncio.sleep(0.1)  # the server itself is cleaning up in it, and only a superuser may stop that


async def _order(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def _named(url: str, database: str) -> str:
    start, _, query = url.partition("?")
    return f"{start.rpartition('/')[0]}/{database}?{query}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a case of abuse be run by its number."""
    parser.addoption("--abuse", type=int, metavar="N", help="run the tests that cite this abuse case")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of one abuse case, if one was asked for."""
    number = config.getoption("--abuse")
    if number is not None:
        names = {name for name, numbers in citing() if number in numbers}
        items[:] = [item for item in items if item.nodeid.partition("[")[0] in names]
