"""Agents as tools of the Model Context Protocol, by the official SDK: `/mcp` for all, `/mcp/agents/{id}` for one."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, cast

import anyio
import msgspec
from fastapi import APIRouter, Request
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep
from agent_factory.api.routing import Guarded
from agent_factory.core.event import ApprovalNeeded, ToolStarted, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.core.message import user
from agent_factory.kit.errors import Problem
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor
from agent_factory.services.gateway import service
from agent_factory.services.gateway.endpoints.turns import Turn, waiting
from agent_factory.services.gateway.errors import ModelNotFound
from agent_factory.services.gateway.service import Ask, Offer

router = APIRouter(include_in_schema=False, redirect_slashes=False, route_class=Guarded)
"""Outside the OpenAPI document: what travels here is JSON-RPC, described by its own protocol."""

_RUN = "agent:run"
_PREFIX = "ask_"
_SCHEME = "agent://"
_JSON = "application/json"
_LONGEST = 1_000_000
_LOOPBACK = ["http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*"]
_INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "minLength": 1, "description": "What to ask or tell the agent."},
    },
    "required": ["message"],
    "additionalProperties": False,
}
_ABOUT = (
    "Each tool asks one agent and gives its answer. An agent remembers nothing between two calls, "
    "so a message has to hold all that it needs."
)

Context = ServerRequestContext[Any, Any]


@router.api_route("/mcp", methods=["GET", "POST", "DELETE"])
@needs(_RUN, inside=True, audited=False)
async def all_agents(request: Request, actor: ActorDep, platform: PlatformDep) -> Response:
    """Serve every deployed agent that the caller may run."""
    return _Exchange(_Agents(platform, actor).server(), request)


@router.api_route("/mcp/agents/{agent_id}", methods=["GET", "POST", "DELETE"])
@needs(_RUN, inside=True, audited=False)
async def one_agent(request: Request, actor: ActorDep, platform: PlatformDep, agent_id: str) -> Response:
    """Serve one deployed agent, by its id or its name."""
    only = await service.offer(platform, actor, _RUN, agent_id)
    return _Exchange(_Agents(platform, actor, only).server(), request)


class _Exchange(Response):
    """One HTTP exchange of the protocol.

    Each has a server and a session manager of its own: nothing is kept between
    two requests, so any process can serve any of them, and a caller's rights
    are those of this very request.
    """

    def __init__(self, server: Server[Any], request: Request) -> None:
        super().__init__()
        self._manager = StreamableHTTPSessionManager(
            server,
            stateless=True,
            # The server's own limit on hosts and bodies holds before this one. A page of a browser that was led
            # here by a rebound name shows itself by its Origin.
            security_settings=TransportSecuritySettings(
                allowed_hosts=[request.headers.get("host", "")], allowed_origins=_LOOPBACK
            ),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it."""
        async with self._manager.run():
            await self._manager.handle_request(scope, receive, send)


class _Agents:
    """The agents that one caller may ask, as tools."""

    def __init__(self, platform: Platform, actor: Actor, only: Offer | None = None) -> None:
        self._platform = platform
        self._actor = actor
        self._only = only

    def server(self) -> Server[Any]:
        """Make the server that answers for them."""
        return Server(
            "agent-factory",
            instructions=_ABOUT,
            get_tool_input_schema=lambda _: _INPUT,
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
            on_list_resources=self.list_resources,
            on_read_resource=self.read_resource,
        )

    async def list_tools(self, _: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """List one tool an agent."""
        offers, more = await self._page(params)
        tools = [
            types.Tool(name=_PREFIX + o.name, title=o.name, description=o.description or None, input_schema=_INPUT)
            for o in offers
        ]
        return types.ListToolsResult(tools=tools, next_cursor=more)

    async def list_resources(
        self, _: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """List what can be read about each agent."""
        offers, more = await self._page(params)
        found = [
            types.Resource(uri=f"agent://{o.name}", name=o.name, description=o.description or None, mime_type=_JSON)
            for o in offers
        ]
        return types.ListResourcesResult(resources=found, next_cursor=more)

    async def read_resource(self, _: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        """Tell about one agent what its organisation may know."""
        name = params.uri.removeprefix(_SCHEME)
        if self._only is not None and name != self._only.name:
            raise _unknown(params.uri)
        try:
            offer = self._only or await service.offer(self._platform, self._actor, _RUN, name)
        except ModelNotFound:
            raise _unknown(params.uri) from None
        text = msgspec.json.encode(offer).decode()
        content = types.TextResourceContents(uri=params.uri, text=text, mime_type=_JSON)
        return types.ReadResourceResult(contents=[content])

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Ask an agent; its run is kept, and is cancelled when the caller gives up."""
        arguments = params.arguments or {}
        message = arguments.get("message")
        if not isinstance(message, str) or not message or len(message) > _LONGEST or len(arguments) != 1:
            return _error('The arguments have to be {"message": "…"}, with a text that is not empty.')
        asked = Ask(agent=self._named(params.name), said=[user(message)], stream=False, source="mcp")
        try:
            run = await service.begin(self._platform, self._actor, asked)
        except ModelNotFound:
            raise _unknown(params.name) from None
        except Problem as problem:
            return _error(problem.detail)
        turn = Turn(self._platform, self._actor, run)
        end: TurnEvent | None = None
        steps = 0
        try:
            async with aclosing(run.events()) as events:
                async for _, event in events:
                    if isinstance(event, TurnCompleted | TurnFailed | ApprovalNeeded):
                        end = event
                    elif isinstance(event, ToolStarted):
                        steps += 1
                        await context.session.report_progress(steps, message=f"uses {event.name}")
        finally:
            if end is None:
                # The SDK cancels by scopes, in which everything that is awaited is cancelled anew.
                with anyio.CancelScope(shield=True):
                    await turn.abandon()
        return _result(turn, end)

    async def _page(self, params: types.PaginatedRequestParams | None) -> tuple[Sequence[Offer], str | None]:
        if self._only is not None:
            return [self._only], None
        try:
            found = await service.offers(self._platform, self._actor, _RUN, params.cursor if params else None)
        except Problem as problem:
            raise MCPError(types.INVALID_PARAMS, problem.detail) from None
        return found.data, found.next_cursor

    def _named(self, tool: str) -> str:
        """Give the agent that a tool asks."""
        name = tool.removeprefix(_PREFIX)
        if name == tool or (self._only is not None and name != self._only.name):
            raise _unknown(tool)
        return name


def _unknown(name: str) -> MCPError:
    return MCPError(types.INVALID_PARAMS, f"There is nothing named {name[:100]!r} here; list what there is.")


def _result(turn: Turn, end: TurnEvent | None) -> types.CallToolResult:
    run_id = turn.headers["x-run-id"]
    match end:
        case TurnCompleted():
            content: list[types.ContentBlock] = [types.TextContent(type="text", text=end.text)]
            structured = cast("dict[str, Any]", end.output) if isinstance(cast("object", end.output), dict) else None
            return types.CallToolResult(content=content, structured_content=structured, _meta={"run_id": run_id})
        case ApprovalNeeded():
            return _error(waiting(run_id, end).detail, run_id)
        case TurnFailed():
            return _error(str(end.problem.get("detail", "")), run_id)
        case _:
            return _error("The run was interrupted; ask again.", run_id)


def _error(text: str, run_id: str | None = None) -> types.CallToolResult:
    meta = {"run_id": run_id} if run_id else None
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True, _meta=meta)
