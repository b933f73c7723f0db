"""The tools of any MCP server: by URL through the guard, or by name from the operator's catalogue (S78)."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

import anyio
import httpx2
import msgspec
import pydantic
import yarl
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST, REQUEST_TIMEOUT, CallToolResult, TextContent
from mcp_types import Tool as RemoteTool
from pydantic import Field

from agent_factory.core.plugin import Settings, ToolPlugin
from agent_factory.core.tool import Tool, ToolContext, ToolDenied, ToolError, ToolTimeout
from agent_factory.kit.errors import FieldError, Invalid, Problem
from agent_factory.security.outgoing import BoundSecret, credentials, guarded, host_of
from agent_factory.tools.mcp_client.connection import Connection
from agent_factory.tools.mcp_client.transport import GuardedTransport, over_http, over_stdio

_MOST_TOOLS = 128
_MOST_PAGES = 20
_MAX_SCHEMA = 100_000
"""Characters of one tool's schema; a longer one only fills the model's window."""

_MAX_DESCRIPTION = 4_000


class McpSettings(Settings):
    """Which server, which of its tools, and which of their descriptions have been approved.

    `pins` maps each tool to its `fingerprint`: when a server later says something
    else of one, or offers another, the agent does not run before that is approved.
    """

    url: str | None = Field(default=None, max_length=2_000, description="A streamable HTTP server.")
    server: str | None = Field(default=None, max_length=100, description="Name of a server in the catalogue.")
    tools: tuple[str, ...] | None = Field(default=None, description="The server's tools to offer; all when left out.")
    secrets: tuple[BoundSecret, ...] = Field(default=(), max_length=20)
    pins: dict[str, str] = Field(default_factory=dict[str, str])
    timeout: float = Field(default=60.0, gt=0, le=600, description="Seconds for one call.")

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.url is None) == (self.server is None):
            raise ValueError("set either url or server")
        return self


class _Line:
    """The connection of one organisation, and the guard of its present one (none for a process)."""

    def __init__(self, settings: McpSettings, context: ToolContext) -> None:
        self._settings = settings
        self._context = context
        self._guard: GuardedTransport | None = None
        self._connection = Connection(self._open, connect=settings.timeout)

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Client, None]:
        """Give the client for one exchange; whatever goes wrong in it comes out as a `Problem`."""
        if self._guard is not None:
            self._guard.problem = None
        try:
            async with self._connection.use() as client:
                yield client
        except Exception as error:  # the SDK lets through whatever went wrong underneath
            raise self._told(error) from error

    def _open(self) -> AbstractAsyncContextManager[Client]:
        settings = self._settings
        if settings.url is not None:
            return self._over_http(settings.url)
        catalogue: Mapping[str, Mapping[str, Any]] = self._context.need("mcp_servers", plugin.name)
        entry = catalogue.get(settings.server or "")
        if entry is None:
            raise ToolDenied(f"No MCP server {settings.server!r} is in the catalogue; only the operator adds one.")
        return over_stdio(entry, settings.timeout)

    @asynccontextmanager
    async def _over_http(self, url: str) -> AsyncGenerator[Client, None]:
        sent = await credentials(self._settings.secrets, url, self._context, plugin.name)
        self._guard = GuardedTransport(guarded(self._context, plugin.name))
        target = str(yarl.URL(url).extend_query(sent.params))
        async with over_http(self._guard, target, sent.headers, self._settings.timeout) as client:
            yield client

    def _told(self, error: Exception) -> Problem:
        """Say what went wrong, and close a connection that is of no more use."""
        beneath = self._guard.problem if self._guard is not None else None
        if beneath is not None or not isinstance(error, MCPError) or error.code in (CONNECTION_CLOSED, INVALID_REQUEST):
            self._connection.drop()
        return beneath or _problem(error, self._context)


class _Server:
    """One use of the tool: a line for each organisation that calls, so that none uses another's credentials."""

    def __init__(self, settings: McpSettings) -> None:
        self._settings = settings
        self._lines: dict[str, _Line] = {}

    def _line(self, context: ToolContext) -> _Line:
        if context.organization_id not in self._lines:
            self._lines[context.organization_id] = _Line(self._settings, context)
        return self._lines[context.organization_id]

    async def discover(self, context: ToolContext) -> list[RemoteTool]:
        """Ask the server for its tools, page by page."""
        tools: list[RemoteTool] = []
        cursor: str | None = None
        async with self._line(context).use() as client:
            for _ in range(_MOST_PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None or len(tools) > _MOST_TOOLS:
                    break
        if len(tools) > _MOST_TOOLS and self._settings.tools is None:
            raise ToolError(f"The server offers more than {_MOST_TOOLS} tools; choose some of them with `tools`.")
        return tools

    async def call(self, name: str, arguments: dict[str, Any], context: ToolContext) -> str:
        """Call one tool of the server."""
        async with self._line(context).use() as client:
            result = await client.call_tool(name, arguments, read_timeout_seconds=self._settings.timeout)
        text = _text(result)
        if result.is_error:
            raise ToolError(context.masked(text)[:2_000] or "The server gave no reason.")
        return text


def _problem(error: Exception, context: ToolContext) -> Problem:
    match error:
        case Problem():
            return error
        case MCPError() if error.code == REQUEST_TIMEOUT:
            return ToolTimeout("The MCP server did not answer in time.")
        case TimeoutError():
            return ToolTimeout("The MCP server did not answer in time.")
        case MCPError():
            return ToolError(f"The MCP server says: {context.masked(error.message)[:500]}")
        case OSError() | anyio.ClosedResourceError() | anyio.BrokenResourceError() | httpx2.HTTPError():
            return ToolError("The MCP server cannot be reached, or has ended.")
        case _:
            return ToolError(f"The MCP server does not keep to the protocol ({type(error).__name__}).")


def _text(result: CallToolResult) -> str:
    """Give a result as text; pictures and sounds are named, not shown."""
    parts: list[str] = []
    for block in result.content:
        if isinstance(block, TextContent):
            parts.append(block.text)
        elif block.type == "resource":
            text = getattr(block.resource, "text", None)
            parts.append(text if isinstance(text, str) else f"({block.resource.uri}: no text)")
        elif block.type == "resource_link":
            parts.append(f"({block.uri})")
        else:
            parts.append(f"({block.type}, {block.mime_type})")
    if not parts and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return "\n".join(parts)


def _tool(server: _Server, remote: RemoteTool, name: str, timeout: float) -> Tool:
    schema = {"type": "object", **remote.input_schema}
    if len(msgspec.json.encode(schema)) > _MAX_SCHEMA:
        raise Invalid("too large", errors=[FieldError("/config/tools", f"the schema of {remote.name!r} is too large")])

    async def call(arguments: dict[str, Any], context: ToolContext) -> str:
        return await server.call(remote.name, arguments, context)

    described = (remote.description or remote.title or remote.name)[:_MAX_DESCRIPTION]
    return Tool(name, described, schema, call, timeout=timeout + 5, takes_context=True, convert=_whole)


def _whole(arguments: dict[str, Any]) -> dict[str, Any]:
    """Hand the arguments on as one value: their names are the server's, and one may be `context`."""
    return {"arguments": arguments}


def _names(remote: list[RemoteTool], prefix: str) -> list[str]:
    """Make names that models can say, each once, out of whatever the server calls its tools."""
    names: list[str] = []
    for tool in remote:
        name = base = re.sub(r"[^A-Za-z0-9_-]+", "_", f"{prefix}_{tool.name}")[:60]
        number = 1
        while name in names:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names


def _chosen(offered: list[RemoteTool], wanted: tuple[str, ...] | None) -> list[RemoteTool]:
    if wanted is None:
        return offered
    known = {t.name: t for t in offered}
    missing = [
        FieldError(f"/config/tools/{i}", f"the server has no tool {w!r}")
        for i, w in enumerate(wanted)
        if w not in known
    ]
    if missing:
        raise Invalid(f"The server's tools are: {', '.join(known) or 'none'}.", errors=missing)
    return [known[w] for w in dict.fromkeys(wanted)]


def _approved(tools: list[Tool], pins: dict[str, str]) -> list[Tool]:
    changed = [t for t in tools if pins and pins.get(t.name) != t.fingerprint]
    if changed:
        faults = [FieldError(f"/config/pins/{t.name}", f"is now {t.fingerprint}") for t in changed]
        raise ToolDenied("The server's tools are not those that were approved; look at them again.", errors=faults)
    return tools


async def _make(settings: McpSettings, name: str | None, context: ToolContext) -> list[Tool]:
    if settings.url is not None:
        host_of(settings.url, at="/config/url")
    server = _Server(settings)
    remote = _chosen(await server.discover(context), settings.tools)
    names = _names(remote, name or settings.server or plugin.name)
    tools = [_tool(server, tool, made, settings.timeout) for tool, made in zip(remote, names, strict=True)]
    return _approved(tools, settings.pins)


plugin = ToolPlugin(
    "mcp",
    "Offers the tools of an MCP server, by its URL or by its name in the operator's catalogue.",
    McpSettings,
    _make,
    example={"server": "files"},
)
