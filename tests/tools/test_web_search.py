"""Web search: one engine, and the next when it fails (S79)."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agent_factory.core.tool import ToolContext, ToolError
from agent_factory.kit.errors import NotFound
from agent_factory.tools.web_search import plugin
from tests.doubles.web import DUCK, LITE, Web

Context = Callable[..., ToolContext]
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}


async def _no_secret(name: str, host: str) -> str:
    raise NotFound(name)


@pytest.fixture
def engines(web: Web) -> dict[str, str]:
    """All three engines on the loopback server; each answers well until a test says otherwise."""
    hits = [{"title": f"T{n}", "link": f"https://example.com/{n}", "snippet": "s"} for n in range(30)]
    web.answers["/serper"] = (200, JSON, msgspec.json.encode({"organic": hits}))
    web.answers["/duck"] = (200, HTML, DUCK.encode())
    web.answers["/lite"] = (200, HTML, LITE.encode())
    return {"serper": web.url("/serper"), "duckduckgo": web.url("/duck"), "duckduckgo_lite": web.url("/lite")}


async def _search(context: ToolContext, **config: Any) -> dict[str, Any]:
    (tool,) = await plugin.build(config)
    return msgspec.json.decode(await tool.call({"query": "two words & more"}, context))


async def test_serper_is_asked_with_the_stored_key(web: Web, context: Context, engines: dict[str, str]) -> None:
    found = await _search(context(search_urls=engines), results=3, country="de")
    assert found["engine"] == "serper"
    assert found["results"][0] == {"title": "T0", "url": "https://example.com/0", "snippet": "s"}
    assert len(found["results"]) == 3
    (asked,) = web.asked
    assert asked.headers["X-API-KEY"] == "serper-key"
    assert msgspec.json.decode(asked.body) == {"q": "two words & more", "num": 3, "gl": "de"}


async def test_without_a_key_duckduckgo_is_asked(web: Web, context: Context, engines: dict[str, str]) -> None:
    found = await _search(context(search_urls=engines, secrets=_no_secret))
    assert found == {
        "engine": "duckduckgo",
        "results": [
            {"title": "The first page", "url": "https://example.com/a", "snippet": "Some words & more."},
            {"title": "Second", "url": "https://example.org/b", "snippet": ""},
        ],
    }
    assert [a.query["q"] for a in web.asked] == ["two words & more"]


@pytest.mark.parametrize(
    "failure",
    [
        (500, {}, b""),
        (429, {}, b""),
        (200, JSON, b"not json"),
        (200, JSON, b'{"organic": [1]}'),
        (200, JSON, b"[]"),
        (200, JSON, b"x" * 3_000_000),
    ],
)
async def test_the_next_engine_is_asked_when_serper_fails(
    web: Web, context: Context, engines: dict[str, str], failure: tuple[int, dict[str, str], bytes]
) -> None:
    web.answers["/serper"] = failure
    assert (await _search(context(search_urls=engines)))["engine"] == "duckduckgo"


@pytest.mark.parametrize("failure", [(202, HTML, b"<html>robot?</html>"), (200, HTML, b"<html>new look</html>")])
async def test_the_small_page_is_asked_when_the_other_cannot_be_read(
    web: Web, context: Context, engines: dict[str, str], failure: tuple[int, dict[str, str], bytes]
) -> None:
    web.answers["/duck"] = failure
    found = await _search(context(search_urls=engines), engines=["duckduckgo", "duckduckgo_lite"])
    assert found == {
        "engine": "duckduckgo_lite",
        "results": [{"title": "Third", "url": "https://example.net/c", "snippet": "Of the small page."}],
    }


async def test_no_result_is_an_answer_too(web: Web, context: Context, engines: dict[str, str]) -> None:
    web.answers["/duck"] = (200, HTML, b'<html><div class="no-results">No results.</div></html>')
    found = await _search(context(search_urls=engines), engines=["duckduckgo"])
    assert found == {"engine": "duckduckgo", "results": []}


async def test_when_all_fail_the_error_says_how_each_did(web: Web, context: Context, engines: dict[str, str]) -> None:
    web.answers |= {"/duck": (202, {}, b""), "/lite": (503, {}, b"")}
    with pytest.raises(ToolError) as caught:
        await _search(context(search_urls=engines, secrets=_no_secret))
    for words in ("serper: no secret 'SERPER_API_KEY'", "duckduckgo: status 202", "duckduckgo_lite: status 503"):
        assert words in caught.value.detail


async def test_an_inner_address_is_not_reached_by_way_of_a_search(web: Web, context: Context) -> None:
    """Abuse 58"""
    urls = dict.fromkeys(("serper", "duckduckgo", "duckduckgo_lite"), "http://169.254.169.254/")
    with pytest.raises(ToolError, match="not on the public internet"):
        await _search(context(search_urls=urls, private_hosts=()))
    assert not web.asked
