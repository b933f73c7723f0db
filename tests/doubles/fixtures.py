"""Fixtures for the servers that stand in for vendors, each a process of its own."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest

from agent_factory.security.egress import Egress

ROOT = Path(__file__).resolve().parents[2]


class ModelServer:
    """A running model server; see `model_server` for what it can be told."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"
        self._egress = Egress().trusting(f"127.0.0.1:{port}")

    async def calls(self, key: str | None = None) -> dict[str, Any]:
        """Give what `/calls` tells: in all, or of one key."""
        found = (await self._egress.request("GET", f"{self.root}/calls")).json()
        return found if key is None else found["by_key"].get(key, {"calls": 0, "aborted": 0})

    async def requests(self, key: str | None = None) -> list[dict[str, Any]]:
        """Give the requests that came, oldest first: all, or those of one key."""
        params = None if key is None else {"key": key}
        return (await self._egress.request("GET", f"{self.root}/requests", params=params)).json()

    async def close(self) -> None:
        await self._egress.close()


@pytest.fixture(scope="session")
def model_server_port() -> Generator[int, None, None]:
    """The port of a model server that runs for the whole session."""
    command = [sys.executable, "-m", "tests.doubles.model_server", "--port", "0", "--until-stdin-ends"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"]
        process.stdin.close()
        process.wait(10)


@pytest.fixture(scope="session")
async def model_server(model_server_port: int) -> AsyncGenerator[ModelServer, None]:
    """The model server, with a way to ask what it saw. Use a key of one's own a test."""
    server = ModelServer(model_server_port)
    yield server
    await server.close()


class EffectsServer:
    """A running server that counts effects; see `effects_server` for what it can be told."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}/effect"
        self._egress = Egress().trusting(self.host)

    async def of(self, key: str) -> dict[str, int]:
        """Give how many requests, effects, failures and conflicts came under a key."""
        return (await self._egress.request("GET", f"http://{self.host}/effects", params={"key": key})).json()

    async def close(self) -> None:
        await self._egress.close()


@pytest.fixture(scope="session")
def effects_server_port() -> Generator[int, None, None]:
    """The port of a server that counts effects, for the whole session."""
    command = [sys.executable, "-m", "tests.doubles.effects_server", "--port", "0", "--until-stdin-ends"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"]
        process.stdin.close()
        process.wait(10)


@pytest.fixture(scope="session")
async def effects_server(effects_server_port: int) -> AsyncGenerator[EffectsServer, None]:
    """The server that counts effects, with a way to ask what it did. Use keys of one's own a test."""
    server = EffectsServer(effects_server_port)
    yield server
    await server.close()


@pytest.fixture(scope="session")
def llama_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    """The URL of a real llama.cpp server, for both protocols below `/v1`; its words are noise."""
    folder = tmp_path_factory.mktemp("llama")
    command = [sys.executable, "-m", "tests.doubles.llama", "--folder", str(folder)]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.stdin.close()
        process.wait(20)


@pytest.fixture(scope="session")
async def egress() -> AsyncGenerator[Egress, None]:
    """The guarded client with its usual settings."""
    client = Egress()
    yield client
    await client.close()
