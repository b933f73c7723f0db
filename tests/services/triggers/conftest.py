"""An application with a worker and a scheduler, and a client with a deployed workflow."""

from collections.abc import AsyncGenerator

import pytest
from fastapi import FastAPI

from agent_factory.runtime.scheduler.settings import SchedulerSettings
from tests.services.triggers.parts import ECHO
from tests.services.workflows.parts import QUICK, create
from tests.serving import Client, opened, settings_for


@pytest.fixture(scope="module")
async def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FastAPI, None]:
    """Every room, a worker and a scheduler in this process."""
    storage = {"url": f"file://{tmp_path_factory.mktemp('objects')}"}
    async with opened(
        settings_for(database_url, queue=QUICK, scheduler=SchedulerSettings(), storage=storage)
    ) as running:
        yield running


@pytest.fixture
async def workflow(client: Client) -> str:
    """A deployed workflow that gives back what it was given."""
    return await create(client, ECHO)
