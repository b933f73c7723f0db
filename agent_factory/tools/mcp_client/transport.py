"""Ways to an MCP server: HTTP through the guarded client, or a process from the operator's catalogue."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation

from agent_factory.kit.errors import Problem
from agent_factory.kit.version import __version__
from agent_factory.security.egress import Egress, StreamAnswer

_LISTENING_SECONDS = 3_600.0
"""How long one response may stay open: a server may keep a stream for its news."""

_MAX_BYTES = 50_000_000
"""Bytes of one response."""

_NOT_SENT = frozenset({"host", "accept-encoding", "connection", "content-length", "transfer-encoding"})
"""Headers that the guarded client sets itself."""

_WHO = Implementation(name="agent-factory", version=__version__)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Carries the SDK's requests over the guarded client, and so through its checks.

    The SDK reduces every error of a transport to a few words; the last problem
    is kept here for whoever wants to know.
    """

    def __init__(self, egress: Egress) -> None:
        """Send over this client."""
        self._egress = egress
        self.problem: Problem | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and give the response as soon as its headers are there."""
        opened = self._egress.stream(
            request.method,
            str(request.url),
            headers={k: v for k, v in request.headers.items() if k.lower() not in _NOT_SENT},
            body=await request.aread() or None,
            timeout=_LISTENING_SECONDS,
            max_bytes=_MAX_BYTES,
        )
        try:
            answer = await opened.__aenter__()
        except Problem as problem:
            self.problem = problem
            raise httpx2.ConnectError(problem.detail) from problem
        return httpx2.Response(
            answer.status, headers=answer.headers, stream=_Body(opened, answer, self), request=request
        )


class _Body(httpx2.AsyncByteStream):
    """The body of a guarded response, which closes its connection with itself."""

    def __init__(
        self, opened: AbstractAsyncContextManager[StreamAnswer], answer: StreamAnswer, transport: GuardedTransport
    ) -> None:
        self._opened = opened
        self._answer = answer
        self._transport = transport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.chunks():
                yield chunk
        except Problem as problem:
            self._transport.problem = problem
            raise httpx2.ReadError(problem.detail) from problem

    async def aclose(self) -> None:
        await self._opened.__aexit__(None, None, None)


@asynccontextmanager
async def over_http(
    transport: GuardedTransport, url: str, headers: Mapping[str, str], seconds: float
) -> AsyncGenerator[Client, None]:
    """Open a client for a streamable HTTP server; `seconds` is the deadline of each answer."""
    async with httpx2.AsyncClient(
        transport=transport,
        headers=dict(headers),
        timeout=httpx2.Timeout(seconds, read=_LISTENING_SECONDS),
        trust_env=False,
    ) as http:
        wire = streamable_http_client(url, http_client=http)
        async with Client(wire, read_timeout_seconds=seconds, client_info=_WHO) as client:
            yield client


@asynccontextmanager
async def over_stdio(entry: Mapping[str, Any], seconds: float) -> AsyncGenerator[Client, None]:
    """Start a server of the catalogue as a process and open a client for it."""
    parameters = StdioServerParameters(
        command=entry["command"], args=list(entry.get("args") or ()), env=dict(entry.get("env") or {})
    )
    with Path(os.devnull).open("w") as nowhere:  # noqa: ASYNC230 - opening this one does not wait
        wire = stdio_client(parameters, errlog=nowhere)
        async with Client(wire, read_timeout_seconds=seconds, client_info=_WHO) as client:
            yield client
