"""Engines over the shared database, with models of the model server and tools that tests watch."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest

from agent_factory.core.agent import Agent
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.engine import Engine
from agent_factory.runtime.models import Endpoint, Models, ModelsSettings
from agent_factory.runtime.settings import EngineSettings
from agent_factory.security.auth import Actor
from agent_factory.security.egress import Egress
from tests.doubles.fixtures import ModelServer
from tests.runtime.parts import QUICK, CountingDatabase, Tools, new_session

Make = Callable[..., Awaitable[Engine]]


@pytest.fixture
def tools() -> Tools:
    """The tools that a test's agents may use."""
    return Tools()


@pytest.fixture
def resources(model_server: ModelServer, egress: Egress, tools: Tools) -> Resources:
    """What the agents of a test reach."""
    models = ModelsSettings(endpoints={"double": Endpoint(url=model_server.url)})
    return Resources(models=Models(models, egress), tools=tools)


@pytest.fixture
async def make_engine(
    database_url: str, resources: Resources, counting: CountingDatabase
) -> AsyncGenerator[Make, None]:
    """Make engines, each with its own connections as in a process of its own; closed before what they stand on."""
    async with AsyncExitStack() as stack:

        async def make(settings: EngineSettings = QUICK, over: Any = None) -> Engine:
            if over is None:
                over = Database(database_url, DatabaseSettings())
                stack.push_async_callback(over.close)
            engine = Engine(over, resources, settings)
            stack.push_async_callback(engine.close, 0)
            return engine

        yield make


@pytest.fixture
async def engine(make_engine: Make) -> Engine:
    """One engine."""
    return await make_engine()


@pytest.fixture
async def counting(database: Database) -> AsyncGenerator[CountingDatabase, None]:
    """The shared database, with its single statements counted."""
    made = CountingDatabase(database)
    yield made
    await made.pool.close()


@pytest.fixture
def agent() -> Agent:
    """An agent over the model server."""
    return Agent(name="helper", model="double:echo")


@pytest.fixture
async def session_id(database: Database, actor: Actor) -> UUID:
    """A new session of the actor's organisation."""
    return await new_session(database, actor)
