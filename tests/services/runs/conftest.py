"""An application over the model server, and a client with a deployed agent."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.database.session import Database
from agent_factory.runtime.models import Endpoint, ModelsSettings
from agent_factory.runtime.settings import EngineSettings
from agent_factory.security.auth import Actor
from tests.doubles.fixtures import ModelServer
from tests.serving import Client, client_of, key_for, opened, settings_for


@pytest.fixture(scope="package")
async def app(database_url: str, model_server: ModelServer) -> AsyncGenerator[FastAPI, None]:
    """Every room in this process, with models of the model server."""
    models = ModelsSettings(endpoints={"double": Endpoint(url=model_server.url)})
    async with opened(settings_for(database_url, models=models, engine=EngineSettings(beat=0.2))) as running:
        yield running


class Talker:
    """A client with a deployed agent and a session."""

    def __init__(self, client: Client, agent: str, session: str) -> None:
        self.client = client
        self.agent = agent
        self.session = session
        self.messages = f"/api/v1/sessions/{session}/messages"

    async def say(self, text: str, **query: Any) -> Any:
        return await self.client.post(self.messages, json={"content": text}, params=query)


async def deploy(client: Client, name: str = "helper", **definition: Any) -> str:
    """Create an agent over the model server and put it into service."""
    made = await client.create_agent(name, **{"model": "double:echo", **definition})
    answer = await client.post(f"/api/v1/agents/{made['id']}:deploy", json={})
    assert answer.status_code == 200, answer.text
    return made["id"]


async def talk(client: Client, **definition: Any) -> Talker:
    """Deploy an agent and begin a session with it."""
    agent = await deploy(client, **definition)
    answer = await client.post("/api/v1/sessions", json={"agent": agent})
    assert answer.status_code == 201, answer.text
    return Talker(client, agent, answer.json()["id"])


@pytest.fixture
async def talker(client: Client) -> Talker:
    """A client with a deployed agent and a session."""
    return await talk(client)


@pytest.fixture
async def another_process(
    database: Database, database_url: str, model_server: ModelServer, actor: Actor
) -> AsyncGenerator[Client, None]:
    """The same organisation at another process of the product."""
    models = ModelsSettings(endpoints={"double": Endpoint(url=model_server.url)})
    async with opened(settings_for(database_url, models=models, engine=EngineSettings(beat=0.2))) as app:
        client = client_of(app, await key_for(database, actor))
        yield client
        await client.aclose()


def events_of(body: str) -> list[tuple[str, str, Any]]:
    """Read server-sent events: id, name, data."""
    out: list[tuple[str, str, Any]] = []
    for block in body.strip().split("\n\n"):
        lines = (line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        fields = {name: value for name, value in lines}  # noqa: C416 - typed, unlike dict()
        if fields:
            out.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return out
