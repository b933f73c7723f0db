"""Engines over the shared database, with models of the model server and tools that tests watch."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from agent_factory.core.agent import Agent
from agent_factory.database.session import Database
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.engine import Engine, EngineSettings
from agent_factory.runtime.models import Endpoint, Models, ModelsSettings
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
async def make_engine(database: Database, resources: Resources) -> AsyncGenerator[Make, None]:
    """Make engines that are closed after the test."""
    made: list[Engine] = []

    async def make(settings: EngineSettings = QUICK, over: Any = None) -> Engine:
        engine = Engine(over or database, resources, settings)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        await engine.close(0)


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
