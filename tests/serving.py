"""The application in this process, and the product in a process of its own."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import httpx2
import pytest
from fastapi import FastAPI

from agent_factory.api.settings import ServerSettings
from agent_factory.assembly import make_app
from agent_factory.connectors.mail.settings import MailSettings
from agent_factory.database.models import UserRow
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.monitoring.settings import LoggingSettings
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.runtime.scheduler.settings import SchedulerSettings
from agent_factory.security.audit import AuditSettings
from agent_factory.security.auth import Actor
from agent_factory.security.encryption import EncryptionSettings
from agent_factory.security.rate_limit import LimitsSettings
from agent_factory.services.auth import service as auth
from agent_factory.settings import Settings
from tests.keyfile import KEY_FILE

ROOT = Path(__file__).resolve().parents[1]
_QUIET = LoggingSettings(level="warning", requests=False)
_IDLE = QueueSettings(worker=False)
_ASLEEP = SchedulerSettings(enabled=False)
_UNSEALED = AuditSettings(sealer=False)
_ANY_HOST = ServerSettings(hosts=("*",))
_UNLIMITED = LimitsSettings(enabled=False)
"""All tests come from one address."""
_UNSENT = MailSettings(deliver=False)


class Client(httpx2.AsyncClient):
    """An HTTP client of one organisation, and who it acts for."""

    actor: Actor
    key: str

    async def create_agent(self, name: str = "support", **definition: Any) -> dict[str, Any]:
        """Create an agent that needs no vendor."""
        answer = await self.post("/api/v1/agents", json={"name": name, "model": "demo", **definition})
        assert answer.status_code == 201, answer.text
        return answer.json()


Sign = Callable[[Actor], Awaitable[Client]]


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[FastAPI, None]:
    """Run an application in this process."""
    app = make_app(settings)
    async with app.router.lifespan_context(app):
        yield app


def settings_for(database_url: str, **more: Any) -> Settings:
    """Give the settings of a test's application, which works on workflows only where the test asks for it.

    Applications of several tests share a database, and a worker works on whatever is in it.
    """
    usual = {
        "database": DatabaseSettings(url=database_url),
        "logging": _QUIET,
        "queue": _IDLE,
        "scheduler": _ASLEEP,
        "audit": _UNSEALED,
        "mail": _UNSENT,
        "encryption": EncryptionSettings(key_file=KEY_FILE),
    }
    usual |= {"server": _ANY_HOST, "limits": _UNLIMITED}
    return Settings.model_validate({**usual, **more})


def client_of(app: FastAPI, key: str = "") -> Client:
    """Make a client that calls an application in this process."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return Client(transport=httpx2.ASGITransport(app=app), base_url="http://testserver", headers=headers)


async def key_for(database: Database, actor: Actor) -> str:
    """Issue a key for an actor."""
    async with database.write(actor.organization_id) as session:
        user = await session.get_one(UserRow, actor.user_id)
        return (await auth.issue_key(session, user, name="test")).secret


@pytest.fixture(scope="session")
async def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FastAPI, None]:
    """Every room in this process, over the shared database."""
    tools = {"workspace": tmp_path_factory.mktemp("files")}
    async with opened(settings_for(database_url, tools=tools)) as running:
        yield running


@pytest.fixture
async def sign(app: FastAPI, database: Database) -> AsyncGenerator[Sign, None]:
    """Make clients that act for an organisation."""
    made: list[Client] = []

    async def make(actor: Actor) -> Client:
        key = await key_for(database, actor)
        client = client_of(app, key)
        client.actor, client.key = actor, key
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
async def client(sign: Sign, actor: Actor) -> Client:
    """A client of a fresh organisation."""
    return await sign(actor)


@pytest.fixture
async def stranger(sign: Sign, other_actor: Actor) -> Client:
    """A client of another fresh organisation."""
    return await sign(other_actor)


@pytest.fixture
async def anyone(app: FastAPI) -> AsyncGenerator[Client, None]:
    """A client without credentials."""
    async with client_of(app) as made:
        yield made


@asynccontextmanager
async def served(environment: Mapping[str, str], log: IO[bytes] | None = None) -> AsyncGenerator[str, None]:
    """Run the product in a process of its own on a free port, and give its address; all that it says goes to `log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {"PATH": os.environ["PATH"]}  # noqa: TID251 - a child needs to find its interpreter
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "agent_factory.server:app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={
            **inherited,
            "AF_LIMITS__ENABLED": "false",
            "AF_ENCRYPTION__KEY_FILE": str(KEY_FILE),
            **environment,
        },
        stdout=log,
        stderr=log,
    )
    root = f"http://127.0.0.1:{port}"
    try:
        await _answers(root, process)
        yield root
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def _answers(root: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30), httpx2.AsyncClient() as http:
        while True:
            assert process.returncode is None, "the server ended by itself"
            try:
                if (await http.get(f"{root}/health")).status_code == 200:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)  # nothing tells when a port begins to answer
