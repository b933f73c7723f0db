"""Flows whose tasks reach real servers: a model's, one that counts effects, and tools in processes."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from agent_factory.core.tool import ToolFactory
from agent_factory.kit.catalog import Catalog
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.models import Endpoint, Models, ModelsSettings
from agent_factory.security.egress import Egress
from tests.doubles import web as doubles
from tests.doubles.fixtures import EffectsServer, ModelServer
from tests.runtime.leaves.parts import MCP, Flows, secret


@pytest.fixture
async def web() -> AsyncGenerator[doubles.Web, None]:
    async with doubles.running() as server:
        yield server


@pytest.fixture
async def flows(
    model_server: ModelServer, effects_server: EffectsServer, web: doubles.Web, tmp_path: Path
) -> AsyncGenerator[Flows, None]:
    """A run that may reach the servers of the tests, and its journal."""
    egress = Egress()
    models = ModelsSettings(endpoints={"double": Endpoint(url=model_server.url)})
    doors = {
        "egress": egress,
        "private_hosts": (effects_server.host, web.host),
        "workspace": tmp_path / "files",
        "secrets": secret,
        "mcp_servers": {"double": MCP},
    }
    yield Flows(Resources(Models(models, egress), Catalog[ToolFactory]("agent_factory.tools"), doors))
    await egress.close()
