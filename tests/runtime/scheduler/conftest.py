"""A database of the test's own: a scheduler fires whatever is due in all of it."""

from collections.abc import AsyncGenerator
from uuid import UUID

import pytest

from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from tests.runtime.scheduler.parts import organization


@pytest.fixture
async def own(fresh_database_url: str) -> AsyncGenerator[Database, None]:
    """The database."""
    opened = Database(fresh_database_url, DatabaseSettings())
    yield opened
    await opened.close()


@pytest.fixture
async def owner(own: Database) -> tuple[UUID, UUID]:
    """An organisation and its workflow."""
    return await organization(own)
