"""Agents as MCP tools, by the official client over HTTP, in both eras of the protocol (S60, abuse 34)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import types
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from agent_factory.database.session import Database
from tests.doubles.fixtures import ModelServer
from tests.services.gateway.asking import CALCULATE, called, ended, please, run, runs_of
from tests.services.gateway.conftest import Served

ERAS = ("auto", "legacy")


@asynccontextmanager
async def connected(served: Served, path: str = "/mcp", mode: Any = "auto") -> AsyncGenerator[Client, None]:
    async with httpx2.AsyncClient(headers=served.headers, timeout=20) as http:
        transport = streamable_http_client(served.root + path, http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@pytest.fixture
async def helper(served: Served) -> str:
    """The id of an agent with a tool of its own."""
    return await served.deploy("helper", model="double:echo", description="Calculates.", tools=["calculator"])


def text(result: Any) -> str:
    return "".join(block.text for block in result.content if isinstance(block, types.TextContent))


@pytest.mark.parametrize("mode", ERAS)
async def test_every_deployed_agent_is_a_tool(served: Served, helper: str, mode: str) -> None:
    await served.deploy("other")
    await served.ask("POST", "/api/v1/agents", {"name": "draft", "model": "demo"})
    async with connected(served, mode=mode) as client:
        tools = (await client.list_tools()).tools
    assert {t.name for t in tools} == {"ask_helper", "ask_other"}
    assert next(t.description for t in tools if t.name == "ask_helper") == "Calculates."
    assert tools[0].input_schema["required"] == ["message"]


@pytest.mark.parametrize("mode", ERAS)
async def test_one_agent_has_an_address_of_its_own(served: Served, helper: str, mode: str) -> None:
    await served.deploy("other")
    for path in (f"/mcp/agents/{helper}", "/mcp/agents/helper"):
        async with connected(served, path, mode) as client:
            assert [t.name for t in (await client.list_tools()).tools] == ["ask_helper"]
            assert text(await client.call_tool("ask_helper", {"message": CALCULATE})) == "Results: 409.5"
            with pytest.raises(MCPError):
                await client.call_tool("ask_other", {"message": "hi"})


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_is_a_run_that_is_kept(served: Served, helper: str, database: Database, mode: str) -> None:
    async with connected(served, mode=mode) as client:
        result = await client.call_tool("ask_helper", {"message": CALCULATE})
    assert text(result) == "Results: 409.5"
    assert not result.is_error
    assert result.meta is not None
    kept = await run(database, result.meta["run_id"])
    assert (kept["source"], kept["status"]) == ("mcp", "completed")


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_hears_of_the_tools_that_an_agent_uses(served: Served, helper: str, mode: str) -> None:
    heard: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    async with connected(served, mode=mode) as client:
        await client.call_tool("ask_helper", {"message": CALCULATE}, progress_callback=hear)
    assert heard == ["uses calculator"]


async def test_a_document_is_given_as_structured_content(served: Served) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    await served.deploy("typed", model="double:echo", output=schema)
    async with connected(served) as client:
        result = await client.call_tool("ask_typed", {"message": please(json={"n": 3})})
    assert result.structured_content == {"n": 3}


async def test_what_an_agent_is_for_can_be_read(served: Served, helper: str) -> None:
    async with connected(served) as client:
        found = (await client.list_resources()).resources
        assert [r.uri for r in found] == ["agent://helper"]
        read = await client.read_resource("agent://helper")
        with pytest.raises(MCPError):
            await client.read_resource("agent://nobody")
    content = read.contents[0]
    assert isinstance(content, types.TextResourceContents)
    assert helper in content.text


@pytest.mark.parametrize("mode", ERAS)
async def test_an_unknown_agent_and_bad_arguments_are_told(served: Served, helper: str, mode: str) -> None:
    async with connected(served, mode=mode) as client:
        for name in ("ask_nobody", "helper", "ask_", "ask_agt_zzz"):
            with pytest.raises(MCPError):
                await client.call_tool(name, {"message": "hi"})
        arguments: tuple[dict[str, Any] | None, ...] = (
            None,
            {},
            {"message": ""},
            {"message": 7},
            {"message": "hi", "organization_id": "org_1"},
        )
        for wrong in arguments:
            result = await client.call_tool("ask_helper", wrong)
            assert result.is_error
            assert "message" in text(result)


async def test_a_model_that_fails_is_a_result_that_says_so(served: Served, database: Database) -> None:
    await served.deploy("broken", model="double:unavailable", retry={"attempts": 1})
    async with connected(served) as client:
        result = await client.call_tool("ask_broken", {"message": "hi"})
    assert result.is_error
    assert "503" in text(result)
    assert await ended(database, served.actor.organization_id, "mcp") == "failed"


async def test_a_turn_that_waits_for_a_person_is_a_result_that_says_so(served: Served) -> None:
    await served.deploy("careful", model="double:echo", tools=[{"use": "calculator", "permission": "ask"}])
    async with connected(served) as client:
        result = await client.call_tool("ask_careful", {"message": CALCULATE})
    assert result.is_error
    assert "decided" in text(result)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_that_is_given_up_cancels_its_run(
    served: Served, helper: str, database: Database, model_server: ModelServer, mode: str
) -> None:
    key = f"given-up-{mode}"

    async def call() -> None:
        async with connected(served, mode=mode) as client:
            await client.call_tool("ask_helper", {"message": please(hang=True, key=key)})

    calling = asyncio.create_task(call())
    await called(model_server, key)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    assert await ended(database, served.actor.organization_id, "mcp") == "cancelled"


async def test_an_agent_of_another_organisation_does_not_exist(
    served: Served, stranger: Served, helper: str, database: Database
) -> None:
    async with connected(stranger) as client:
        assert (await client.list_tools()).tools == []
        for name in ("ask_helper", f"ask_{helper}"):
            with pytest.raises(MCPError):
                await client.call_tool(name, {"message": "hi"})
    for path in (f"/mcp/agents/{helper}", "/mcp/agents/helper"):
        status, _, told = await stranger.ask("POST", path, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert status == 404
        assert told["code"] == "model_not_found"
    assert await runs_of(database, stranger.actor.organization_id, "mcp") == []


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.mark.parametrize("path", ["/mcp", "/mcp/agents/helper"])
async def test_without_a_key_nothing_is_served(served: Served, helper: str, path: str) -> None:
    for key in ("", "af_000000000000_" + "a" * 43):
        status, headers, _ = await served.ask("POST", path, LIST, {"Authorization": f"Bearer {key}", **ACCEPT})
        assert status == 401
        assert headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
async def test_a_page_of_another_site_is_refused(served: Served, version: str) -> None:
    for origin, status in (("http://evil.example", 403), ("http://127.0.0.1:8080", 200)):
        headers = {**ACCEPT, "Origin": origin, "MCP-Protocol-Version": version, "Mcp-Method": "tools/list"}
        got, _, _ = await served.ask("POST", "/mcp", _listing(version), headers)
        assert got == status


def _listing(version: str) -> dict[str, Any]:
    if version < "2026":
        return LIST
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {**LIST, "params": {"_meta": meta}}


@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (b"", {400}),
        (b"{", {400}),
        (b"[]", {400}),
        (b"null", {400}),
        (b'{"jsonrpc":"1.0"}', {400}),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', {400}),
        (b"[" * 50_000, {400}),
        (b'{"jsonrpc":"2.0","id":1,"method":"no/such"}', {200, 400, 404}),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}', {200, 400}),
        (b'{"x":"' + b"a" * 6_000_000 + b'"}', {413}),
    ],
)
@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28", "1999-01-01", "x" * 100])
async def test_bad_input_ends_in_an_answer(served: Served, body: bytes, statuses: set[int], version: str) -> None:
    status, _, _ = await served.ask("POST", "/mcp", body, {**ACCEPT, "MCP-Protocol-Version": version})
    assert status in statuses | {400}
    assert (await served.ask("GET", "/v1/models"))[0] == 200
