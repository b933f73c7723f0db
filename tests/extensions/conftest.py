"""What the tools of the catalogue need to be built and called: real parts, all of them local."""

import sqlite3
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from socket import AddressFamily

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from agent_factory.core.tool import Tool, ToolContext, ToolFactory
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.errors import NotFound
from agent_factory.security.egress import Egress
from tests.doubles import web

MCP_SERVER = Path(__file__).parents[1] / "doubles" / "mcp_server.py"


class NoNames(AbstractResolver):
    """Knows no name, so that no test reaches the internet or waits for it."""

    async def resolve(  # its parameters are those of every resolver
        self,
        host: str,  # noqa: ARG002
        port: int = 0,  # noqa: ARG002
        family: AddressFamily = AddressFamily.AF_UNSPEC,  # noqa: ARG002
    ) -> list[ResolveResult]:
        raise OSError("there are no names here")

    async def close(self) -> None:
        pass


async def _agree(name: str, message: str) -> str:
    return f"{name}: {message}"


async def _no_secret(name: str, host: str) -> str:
    raise NotFound(f"There is no secret {name!r}.")


@pytest.fixture(scope="session")
async def context(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ToolContext, None]:
    """A context in which every tool finds what it asks for."""
    folder = tmp_path_factory.mktemp("extensions")
    with closing(sqlite3.connect(folder / "main.db")) as database:
        database.execute("CREATE TABLE things (name TEXT)")
    egress = Egress(resolver=NoNames())
    async with web.running() as server:
        yield ToolContext(
            organization_id="org_1",
            resources={
                "egress": egress,
                "private_hosts": (server.host,),
                "workspace": folder / "workspace",
                "secrets": _no_secret,
                "databases": {"main": f"sqlite:///{folder / 'main.db'}"},
                "mcp_servers": {"files": {"command": sys.executable, "args": [str(MCP_SERVER), "stdio", "--calm"]}},
                "run_agent": _agree,
                "search_urls": {"duckduckgo": server.url("/duck"), "duckduckgo_lite": server.url("/lite")},
            },
        )
        await egress.close()


@pytest.fixture(scope="session")
def built(context: ToolContext) -> Callable[[str], Awaitable[list[Tool]]]:
    """Build a plugin with its example, once for all tests."""
    catalog: Catalog[ToolFactory] = Catalog("agent_factory.tools")
    found: dict[str, list[Tool]] = {}

    async def build(name: str) -> list[Tool]:
        if name not in found:
            plugin = catalog.get(name)
            found[name] = await plugin.build(plugin.config_schema["examples"][0], None, context)
        return found[name]

    return build
