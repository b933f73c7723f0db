"""An application over the model server, whose money is counted, and a client with a deployed agent."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.runtime.models import Endpoint, ModelsSettings
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.runtime.settings import EngineSettings
from tests.doubles.fixtures import ModelServer
from tests.serving import Client, opened, settings_for

Deploy = Callable[..., Awaitable[str]]


@pytest.fixture(scope="module")
async def app(database_url: str, model_server: ModelServer) -> AsyncGenerator[FastAPI, None]:
    """Every room and a worker in this process; `openai:…` is the model server, at the prices of the vendor."""
    models = {
        "endpoints": {
            "double": Endpoint(url=model_server.url),
            "priced": Endpoint(url=model_server.url),
            "nowhere": Endpoint(url="http://127.0.0.1:1/v1"),
        },
        "prices": {"priced:*": {"input": 10, "output": "20.00"}},
        "openai_base_url": model_server.url,
        "openai_api_key": "key",
    }
    settings = settings_for(
        database_url,
        models=ModelsSettings.model_validate(models),
        engine=EngineSettings(beat=0.2),
        queue=QueueSettings(),
    )
    async with opened(settings) as running:
        yield running


@pytest.fixture
def deploy(client: Client) -> Deploy:
    """Put agents over the model server into service."""

    async def make(name: str = "support", **definition: Any) -> str:
        made = await client.create_agent(name, **{"model": "openai:gpt-4o-mini", **definition})
        answer = await client.post(f"/api/v1/agents/{made['id']}:deploy", json={})
        assert answer.status_code == 200, answer.text
        return made["id"]

    return make
