"""HTTP requests: only where and how the author allows, only out to the world (abuse 58-62)."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agent_factory.core.tool import Tool, ToolContext, ToolDenied
from agent_factory.kit.errors import Invalid, Problem
from agent_factory.security.egress import EgressBlocked, EgressFailed, EgressTimeout, EgressTooLarge
from agent_factory.tools.http_request import plugin
from tests.doubles.web import Web

Context = Callable[..., ToolContext]


async def _tool(**config: Any) -> Tool:
    (tool,) = await plugin.build(config)
    return tool


async def _answer(tool: Tool, context: ToolContext, **arguments: Any) -> dict[str, Any]:
    return msgspec.json.decode(await tool.call(arguments, context))


async def test_a_request_goes_out_as_asked_and_its_answer_can_be_read(web: Web, context: Context) -> None:
    tool = await _tool(methods=["POST"], headers={"X-App": "af"})
    answer = await _answer(
        tool, context(), url=web.url("/x?a=1"), params={"b": "2 3"}, headers={"X-Mine": "y"}, json={"k": [1]}
    )
    assert answer["status"] == 200
    body = answer["body"]
    assert (body["method"], body["query"], body["body"]) == ("POST", {"a": "1", "b": "2 3"}, '{"k":[1]}')
    assert {"X-App": "af", "X-Mine": "y"}.items() <= body["headers"].items()


async def test_text_goes_out_as_it_is(web: Web, context: Context) -> None:
    await _answer(await _tool(methods=["PUT"]), context(), url=web.url("/x"), body="ä")
    assert (web.asked[0].method, web.asked[0].body) == ("PUT", "ä")


async def test_by_itself_it_only_reads(web: Web, context: Context) -> None:
    tool = await _tool()
    assert tool.pure
    for arguments in ({"method": "POST"}, {"json": {}}, {"body": "x"}):
        with pytest.raises(Invalid):
            await tool.call({"url": web.url("/x"), **arguments}, context())
    assert not web.asked


@pytest.mark.parametrize(
    ("pattern", "allowed"), [("*", True), ("127.0.0.1:{port}", True), ("127.0.0.1", False), ("*.0.0.1", False)]
)
async def test_only_the_named_hosts_are_asked(web: Web, context: Context, pattern: str, allowed: bool) -> None:
    tool = await _tool(hosts=[pattern.replace("{port}", str(web.port))])
    if allowed:
        assert (await _answer(tool, context(), url=web.url("/x")))["status"] == 200
    else:
        with pytest.raises(ToolDenied):
            await tool.call({"url": web.url("/x")}, context())
        assert not web.asked


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com@evil.example/",
        "http://evil.example/api.example.com",
        "http://api.example.com.evil.example/",
        "http://evil.example#.api.example.com",
        "http://evil.example?.api.example.com",
        "http://evil.example\\.api.example.com/",
        "https://api.example.com:8443/",
    ],
)
async def test_no_spelling_of_a_url_passes_for_an_allowed_host(context: Context, url: str) -> None:
    tool = await _tool(hosts=["api.example.com", "*.api.example.com"])
    with pytest.raises((ToolDenied, Invalid)):
        await tool.call({"url": url}, context())


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/x",
        "http://localhost:{port}/x",
        "http://localhost.:{port}/x",
        "http://[::1]:{port}/x",
        "http://[::ffff:127.0.0.1]:{port}/x",
        "http://[64:ff9b::7f00:1]:{port}/x",
        "http://2130706433:{port}/x",
        "http://0x7f000001:{port}/x",
        "http://0177.0.0.1:{port}/x",
        "http://127.1:{port}/x",
        "http://１２７.0.0.1:{port}/x",  # noqa: RUF001 - full-width digits
        "http://0.0.0.0:{port}/x",
        "http://user:word@127.0.0.1:{port}/x",
        "http://10.0.0.1/",
        "http://100.64.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00::1]/",
    ],
)
async def test_no_spelling_of_an_inner_address_is_reached(web: Web, context: Context, url: str) -> None:
    """Abuse 58"""
    tool = await _tool()
    with pytest.raises(EgressBlocked):
        await tool.call({"url": url.replace("{port}", str(web.port))}, context(private_hosts=()))
    assert not web.asked


@pytest.mark.parametrize(
    "url", ["", "x", "//x/", "file:///etc/passwd", "ftp://x/", "gopher://x/", "http://", "http:///x"]
)
async def test_what_is_no_web_address_is_invalid(context: Context, url: str) -> None:
    with pytest.raises(Invalid) as caught:
        await (await _tool()).call({"url": url}, context())
    assert caught.value.errors[0].pointer == "/url"


async def test_a_redirect_is_shown_and_not_followed(web: Web, context: Context) -> None:
    """Abuse 59"""
    answer = await _answer(await _tool(), context(), url=web.url("/redirect?to=http://169.254.169.254/"))
    assert (answer["status"], answer["location"]) == (302, "http://169.254.169.254/")
    assert len(web.asked) == 1


@pytest.mark.parametrize(
    ("path", "error"),
    [("/endless", EgressTooLarge), ("/drip", EgressTimeout), ("/gzip", EgressFailed)],
)
async def test_an_answer_that_does_not_end_or_unfolds_is_cut_off(
    web: Web, context: Context, path: str, error: type[Problem]
) -> None:
    """Abuse 61"""
    tool = await _tool(max_bytes=1_000_000, timeout=0.3 if path == "/drip" else 10)
    with pytest.raises(error):
        await tool.call({"url": web.url(path)}, context())


async def test_a_secret_goes_to_its_host_and_comes_back_masked(web: Web, context: Context) -> None:
    """Abuse 68"""
    tool = await _tool(secrets=[{"secret": "TOKEN", "host": web.host}])
    result = await tool.call({"url": web.url("/x")}, context())
    assert web.asked[0].headers["Authorization"] == "Bearer s3cr3t-value"
    assert "s3cr3t-value" not in result
    assert "[redacted]" in result


async def test_a_secret_goes_to_no_other_host(web: Web, context: Context) -> None:
    """Abuse 62"""
    for host in ("api.example.com", "127.0.0.1", f"{web.host}0"):
        tool = await _tool(secrets=[{"secret": "TOKEN", "host": host}])
        await tool.call({"url": web.url("/x")}, context())
    assert all("Authorization" not in asked.headers for asked in web.asked)


async def test_a_secret_is_not_sent_in_the_clear(context: Context) -> None:
    tool = await _tool(secrets=[{"secret": "TOKEN", "host": "api.example.com"}])
    with pytest.raises(ToolDenied, match="https only"):
        await tool.call({"url": "http://api.example.com/"}, context())


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "mine"},
        {"authorization": "mine"},
        {"X-App": "mine"},
        {"Host": "evil.example"},
        {"Content-Length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"X\r\nInjected": "1"},
        {"X": "1\r\nInjected: 1"},
        {"": "1"},
        {"X Y": "1"},
    ],
)
async def test_a_model_sets_no_header_of_the_author_or_of_the_protocol(
    web: Web, context: Context, headers: dict[str, str]
) -> None:
    tool = await _tool(secrets=[{"secret": "TOKEN", "host": web.host}], headers={"X-App": "af"})
    with pytest.raises(Invalid) as caught:
        await tool.call({"url": web.url("/x"), "headers": headers}, context())
    assert caught.value.errors[0].pointer.startswith("/headers")
    assert not web.asked


async def test_what_is_no_text_is_named_instead_of_shown(web: Web, context: Context) -> None:
    assert (await _answer(await _tool(), context(), url=web.url("/binary")))["body"] == "(3 bytes that are no text)"


async def test_broken_json_is_shown_as_the_text_that_it_is(web: Web, context: Context) -> None:
    web.answers["/x"] = (500, {"Content-Type": "application/json"}, b'{"a": nope')
    answer = await _answer(await _tool(), context(), url=web.url("/x"))
    assert (answer["status"], answer["body"]) == (500, '{"a": nope')
