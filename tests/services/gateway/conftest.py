"""The whole product in a process of its own, with agents to talk to."""

import io
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from agents import set_tracing_disabled
from openai import AsyncOpenAI, OpenAI

from agent_factory.database.session import Database
from agent_factory.security.auth import Actor
from tests.doubles.fixtures import ModelServer
from tests.serving import key_for, served


class Served:
    """A running server, and one organisation's way into it."""

    def __init__(self, root: str, key: str, actor: Actor) -> None:
        self.root = root
        self.url = f"{root}/v1"
        self.key = key
        self.actor = actor
        self.headers = {"Authorization": f"Bearer {key}"}

    async def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Send one request; give its status, headers and decoded body."""
        data = io.BytesIO(body) if isinstance(body, bytes) else None if body is None else json.dumps(body)
        sent = {"Content-Type": "application/json", **self.headers, **(headers or {})}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.root + path, data=data, headers=sent) as answer,
        ):
            raw = await answer.read()
            decoded = json.loads(raw) if "json" in answer.content_type else raw
            return answer.status, answer.headers, decoded

    async def deploy(self, name: str, **definition: Any) -> str:
        """Create an agent and put it into service; give its id."""
        made = {"model": "demo", **definition, "name": name}
        status, _, agent = await self.ask("POST", "/api/v1/agents", made)
        assert status == 201, agent
        status, _, told = await self.ask("POST", f"/api/v1/agents/{agent['id']}:deploy", {})
        assert status == 200, told
        return agent["id"]

    def client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=self.url, api_key=self.key, max_retries=0, timeout=20)

    def sync_client(self) -> OpenAI:
        return OpenAI(base_url=self.url, api_key=self.key, max_retries=0, timeout=20)


@pytest.fixture(scope="session")
async def server_root(
    database_url: str, model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[str, None]:
    """The address of a real server over the embedded PostgreSQL and the model double."""
    environment = {
        "HOME": str(tmp_path_factory.mktemp("home")),
        "AF_DATABASE__URL": database_url,
        "AF_QUEUE__WORKER": "false",
        "AF_SCHEDULER__ENABLED": "false",
        "AF_MODELS__ENDPOINTS": json.dumps({"double": {"url": model_server.url}}),
        "AF_MODELS__OLLAMA_URL": "http://127.0.0.1:1",
        "AF_LOGGING__REQUESTS": "false",
    }
    async with served(environment) as root:
        yield root


@pytest.fixture(scope="session")
def serve(server_root: str, database: Database) -> Callable[[Actor], Awaitable[Served]]:
    """Give an organisation a key for the server."""

    async def make(actor: Actor) -> Served:
        return Served(server_root, await key_for(database, actor), actor)

    return make


@pytest.fixture(name="served")
async def _served(serve: Callable[[Actor], Awaitable[Served]], actor: Actor) -> Served:
    """The server, for a fresh organisation."""
    return await serve(actor)


@pytest.fixture
async def stranger(serve: Callable[[Actor], Awaitable[Served]], other_actor: Actor) -> Served:
    """The same server, for another fresh organisation."""
    return await serve(other_actor)


@pytest.fixture(autouse=True, scope="session")
def _no_tracing() -> None:
    """Keep OpenAI's agent SDK from sending traces to its vendor."""
    set_tracing_disabled(disabled=True)
