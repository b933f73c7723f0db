"""A loopback web server and contexts that lead to it."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from agent_factory.core.tool import ToolContext
from agent_factory.kit.errors import NotFound
from agent_factory.security.egress import Egress
from tests.doubles import web as doubles

SECRETS = {"TOKEN": "s3cr3t-value", "SERPER_API_KEY": "serper-key"}


async def secret(name: str, host: str) -> str:
    """Give a stored secret, as the platform does."""
    if name not in SECRETS:
        raise NotFound(f"There is no secret {name!r}.")
    return SECRETS[name]


@pytest.fixture
async def web() -> AsyncGenerator[doubles.Web, None]:
    async with doubles.running() as server:
        yield server


@pytest.fixture
async def egress() -> AsyncGenerator[Egress, None]:
    client = Egress()
    yield client
    await client.close()


@pytest.fixture
def context(web: doubles.Web, egress: Egress) -> Callable[..., ToolContext]:
    """Make a context whose operator opened the loopback server, with more resources."""

    def make(**resources: Any) -> ToolContext:
        return ToolContext(resources={"egress": egress, "private_hosts": (web.host,), "secrets": secret, **resources})

    return make
