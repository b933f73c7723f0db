"""The tools of real MCP servers, as a process and over HTTP (S78; abuse 51, 52, 58, 65)."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from agent_factory.core.tool import Tool, ToolContext, ToolDenied, ToolError, ToolTimeout
from agent_factory.kit.errors import Invalid, Problem
from agent_factory.security.egress import Egress, EgressBlocked, EgressFailed
from agent_factory.tools import mcp
from agent_factory.tools.mcp import plugin
from agent_factory.tools.mcp_client.connection import Connection
from agent_factory.tools.mcp_client.transport import over_stdio
from tests.doubles.web import Web
from tests.tools.conftest import secret

SERVER = Path(__file__).parents[1] / "doubles" / "mcp_server.py"
ENTRY = {"command": sys.executable, "args": [str(SERVER), "stdio"], "env": {"GREETING": "hello"}}
CHANGED = {**ENTRY, "args": [*ENTRY["args"], "--changed"]}


@asynccontextmanager
async def _serving() -> AsyncGenerator[int, None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), "http", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture(scope="session")
async def http_port() -> AsyncGenerator[int, None]:
    """The port of a server over HTTP that runs for the whole session; do not crash it."""
    async with _serving() as port:
        yield port


@pytest.fixture
def make_context(egress: Egress) -> Callable[..., ToolContext]:
    def make(port: int = 0, **resources: Any) -> ToolContext:
        doors = {
            "egress": egress,
            "private_hosts": (f"127.0.0.1:{port}",),
            "mcp_servers": {"double": ENTRY, "changed": CHANGED},
            "secrets": secret,
            **resources,
        }
        return ToolContext(organization_id="org_1", resources=doors)

    return make


Make = Callable[..., ToolContext]


@pytest.fixture(params=["stdio", "http"])
def way(request: pytest.FixtureRequest, make_context: Make) -> tuple[dict[str, Any], ToolContext]:
    """Settings and context of each way to a server in turn."""
    if request.param == "stdio":
        return {"server": "double"}, make_context()
    port: int = request.getfixturevalue("http_port")
    return {"url": f"http://127.0.0.1:{port}/mcp"}, make_context(port)


async def _tools(config: dict[str, Any], context: ToolContext, name: str | None = "it") -> dict[str, Tool]:
    return {t.name.removeprefix("it_"): t for t in await plugin.build(config, name, context)}


Way = tuple[dict[str, Any], ToolContext]


async def test_the_servers_tools_are_found_and_called(way: Way) -> None:
    config, context = way
    tools = await _tools(config, context)
    assert {"add", "echo_text", "fail", "flood"} <= tools.keys()
    assert tools["add"].description == "Add two whole numbers."
    assert tools["add"].parameters["properties"].keys() == {"a", "b"}
    assert await tools["add"].call({"a": 1, "b": 2}, context) == "3"
    assert await tools["echo_text"].call({"text": "ä", "context": "mine"}, context) == "ä (mine)"


async def test_arguments_are_checked_before_the_server_sees_them(way: Way) -> None:
    config, context = way
    with pytest.raises(Invalid) as caught:
        await (await _tools(config, context))["add"].call({"a": "1", "b": 2}, context)
    assert caught.value.errors[0].pointer == "/a"


async def test_a_tool_that_fails_on_the_server_is_an_error_with_its_words(way: Way) -> None:
    config, context = way
    with pytest.raises(ToolError, match="fail"):
        await (await _tools(config, context))["fail"].call({}, context)


async def test_many_calls_share_one_connection(way: Way) -> None:
    config, context = way
    tools = await _tools(config, context)
    pids = await asyncio.gather(*(tools["pid"].call({}, context) for _ in range(20)))
    assert len(set(pids)) == 1


async def test_a_long_answer_is_cut(way: Way) -> None:
    config, context = way
    tool = (await _tools(config, context))["flood"]
    assert len(await tool.call({"size": 600_000}, context)) == tool.max_result


async def test_a_call_that_hangs_ends_at_its_deadline_and_the_next_one_works(way: Way) -> None:
    config, context = way
    tools = await _tools({**config, "timeout": 1}, context)
    with pytest.raises(ToolTimeout):
        await tools["hang"].call({}, context)
    assert await tools["add"].call({"a": 1, "b": 2}, context) == "3"


async def test_a_cancelled_call_leaves_the_connection_to_the_others(way: Way) -> None:
    config, context = way
    tools = await _tools(config, context)
    pid = await tools["pid"].call({}, context)
    for _ in range(10):
        call = asyncio.create_task(tools["hang"].call({}, context))
        other = asyncio.create_task(tools["add"].call({"a": 1, "b": 2}, context))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await other == "3"
    assert await tools["pid"].call({}, context) == pid


async def test_a_process_that_ends_is_one_error_and_is_started_again(make_context: Make) -> None:
    context = make_context()
    tools = await _tools({"server": "double"}, context)
    first = await tools["pid"].call({}, context)
    with pytest.raises(ToolError):
        await tools["crash"].call({}, context)
    assert await tools["pid"].call({}, context) != first


async def test_a_server_that_is_gone_is_one_clear_error(make_context: Make) -> None:
    async with _serving() as port:
        context = make_context(port)
        tools = await _tools({"url": f"http://127.0.0.1:{port}/mcp"}, context)
        with pytest.raises(Problem):
            await tools["crash"].call({}, context)
        with pytest.raises(EgressFailed):
            await tools["add"].call({"a": 1, "b": 2}, context)


async def test_each_organisation_has_a_connection_of_its_own(make_context: Make) -> None:
    context = make_context()
    tools = await _tools({"server": "double"}, context)
    other = ToolContext(organization_id="org_2", resources=context.resources)
    assert await tools["pid"].call({}, context) != await tools["pid"].call({}, other)


async def test_an_idle_connection_is_closed_and_its_process_ended() -> None:
    connection = Connection(lambda: over_stdio(ENTRY, 10), connect=10, idle=0.01)
    async with connection.use() as client:
        result = await client.call_tool("pid", {})
    process = psutil.Process(int(mcp._text(result)))
    held = connection._held
    assert held is not None
    await held._owner
    assert not process.is_running()
    async with connection.use() as client:
        assert int(mcp._text(await client.call_tool("pid", {}))) != process.pid
    connection.drop()


async def test_a_process_gets_the_catalogues_environment_and_none_of_ours(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Abuse 52"""
    monkeypatch.setenv("AF_ENCRYPTION_KEY", "of the server")
    context = make_context()
    tools = await _tools({"server": "double"}, context)
    names = (await tools["environment"].call({}, context)).split("\n")
    assert "GREETING" in names
    assert "AF_ENCRYPTION_KEY" not in names


@pytest.mark.parametrize(
    "config",
    [
        {"command": "sh", "args": ["-c", "id"]},
        {"server": "double", "command": "npx"},
        {"server": "double", "args": ["-c", "print()"]},
        {"server": "double", "env": {"LD_PRELOAD": "x.so"}},
        {"server": {"command": "sh"}},
        {"server": ["sh", "-c", "id"]},
        {},
        {"url": "http://example.com", "server": "double"},
    ],
)
async def test_no_command_comes_from_an_agent(config: dict[str, Any], make_context: Make) -> None:
    """Abuse 52"""
    with pytest.raises(Invalid):
        await plugin.build(config, None, make_context())


@pytest.mark.parametrize("name", ["sh", "npx -c id", "../double", "Double", ""])
async def test_a_process_outside_the_catalogue_is_forbidden(name: str, make_context: Make) -> None:
    """Abuse 52"""
    with pytest.raises(ToolDenied):
        await plugin.build({"server": name}, None, make_context())


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/mcp", "http://169.254.169.254/", "http://[::1]/", "http://2130706433/"]
)
async def test_an_inner_address_is_blocked_at_the_dial(url: str, make_context: Make) -> None:
    """Abuse 58"""
    with pytest.raises(EgressBlocked):
        await plugin.build({"url": url}, None, make_context())


async def test_a_redirect_to_an_inner_address_is_not_followed(web: Web, make_context: Make) -> None:
    """Abuse 59"""
    web.answers["/mcp"] = (307, {"Location": "http://169.254.169.254/mcp"}, b"")
    with pytest.raises(Problem):
        await plugin.build({"url": web.url("/mcp"), "timeout": 5}, None, make_context(web.port))


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", b"<html>no server of this kind</html>"),
        (200, "application/json", b"{"),
        (200, "application/json", b"[]"),
        (200, "text/event-stream", b"data: nonsense\n\n"),
        (404, "text/plain", b""),
        (401, "application/json", b'{"error": "who are you"}'),
        (500, "text/plain", b"x" * 100_000),
    ],
)
async def test_what_does_not_speak_the_protocol_is_one_error(
    web: Web, make_context: Make, status: int, kind: str, body: bytes
) -> None:
    web.answers["/mcp"] = (status, {"Content-Type": kind}, body)
    with pytest.raises(Problem) as caught:
        await plugin.build({"url": web.url("/mcp"), "timeout": 2}, None, make_context(web.port))
    assert caught.value.kind in ("upstream", "timeout")


async def test_a_secret_is_sent_to_the_server_that_it_is_bound_to(web: Web, make_context: Make) -> None:
    """Abuse 62"""
    for host in (web.host, "api.example.com"):
        web.asked.clear()
        config = {"url": web.url("/mcp"), "timeout": 2, "secrets": [{"secret": "TOKEN", "host": host}]}
        with pytest.raises(Problem):
            await plugin.build(config, None, make_context(web.port))
        sent = {asked.headers.get("Authorization") for asked in web.asked}
        assert sent == ({"Bearer s3cr3t-value"} if host == web.host else {None})


async def test_only_the_chosen_tools_are_offered(make_context: Make) -> None:
    tools = await plugin.build({"server": "double", "tools": ["echo.text"]}, None, make_context())
    assert [t.name for t in tools] == ["double_echo_text"]
    with pytest.raises(Invalid) as caught:
        await plugin.build({"server": "double", "tools": ["add", "nothing"]}, None, make_context())
    assert caught.value.errors[0].pointer == "/config/tools/1"


async def test_a_description_that_changed_after_approval_has_to_be_approved_again(make_context: Make) -> None:
    """Abuse 65"""
    context = make_context()
    approved = {t.name: t.fingerprint for t in await plugin.build({"server": "double"}, "it", context)}
    assert await plugin.build({"server": "double", "pins": approved}, "it", context)
    with pytest.raises(ToolDenied) as caught:
        await plugin.build({"server": "changed", "pins": approved}, "it", context)
    (changed,) = caught.value.errors
    assert changed.pointer == "/config/pins/it_add"
    pins = approved | {"it_add": changed.detail.rpartition(" ")[2]}
    assert await plugin.build({"server": "changed", "pins": pins}, "it", context)


async def test_a_tool_that_came_after_the_approval_has_to_be_approved_too(make_context: Make) -> None:
    """Abuse 65: else a server adds what it may not change."""
    context = make_context()
    built = await plugin.build({"server": "double"}, "it", context)
    approved = {t.name: t.fingerprint for t in built if t.name != "it_flood"}
    with pytest.raises(ToolDenied) as caught:
        await plugin.build({"server": "double", "pins": approved}, "it", context)
    assert [e.pointer for e in caught.value.errors] == ["/config/pins/it_flood"]
    chosen = {"server": "double", "tools": ["add"], "pins": approved}
    assert [t.name for t in await plugin.build(chosen, "it", context)] == ["it_add"], "what is not offered needs none"


async def test_names_that_become_the_same_stay_apart() -> None:
    remote = [mcp.RemoteTool(name=name, input_schema={"type": "object"}) for name in ("a.b", "a b", "a_b", "x" * 99)]
    assert mcp._names(remote, "it") == ["it_a_b", "it_a_b_2", "it_a_b_3", "it_" + "x" * 57]


async def test_pictures_are_named_and_structures_are_written_out() -> None:
    picture = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
    link = {"type": "resource_link", "uri": "file:///x", "name": "x"}
    text = {"type": "resource", "resource": {"uri": "file:///y", "text": "words"}}
    result = mcp.CallToolResult.model_validate({"content": [picture, link, text]})
    assert mcp._text(result) == "(image, image/png)\n(file:///x)\nwords"
    structured = mcp.CallToolResult.model_validate({"content": [], "structuredContent": {"a": [1]}})
    assert msgspec.json.decode(mcp._text(structured)) == {"a": [1]}
