"""Web search by Serper or DuckDuckGo, the next one when one fails (S79)."""

from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
from pydantic import Field

from agent_factory.core.plugin import Settings, ToolPlugin
from agent_factory.core.tool import Tool, ToolContext, ToolError, ToolUnavailable
from agent_factory.kit.errors import NotFound, Problem
from agent_factory.security.egress import Answer
from agent_factory.security.outgoing import guarded, host_of

Engine = Literal["serper", "duckduckgo", "duckduckgo_lite"]

_URLS: dict[Engine, str] = {
    "serper": "https://google.serper.dev/search",
    "duckduckgo": "https://html.duckduckgo.com/html/",
    "duckduckgo_lite": "https://lite.duckduckgo.com/lite/",
}
_MAX_BYTES = 2_000_000
_OK = 200
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
"""DuckDuckGo gives its page without scripts to browsers only."""


class SearchSettings(Settings):
    """Engines in the order in which they are tried; Serper needs a stored secret with its key."""

    engines: tuple[Engine, ...] = Field(default=("serper", "duckduckgo", "duckduckgo_lite"), min_length=1)
    secret: str = Field(default="SERPER_API_KEY", min_length=1, max_length=100)
    results: int = Field(default=8, ge=1, le=20)
    country: str = Field(default="", pattern=r"^([a-z]{2})?$", description="Two letters, such as us or de.")
    timeout: float = Field(default=10.0, gt=0, le=60, description="Seconds for each engine.")


class Hit(msgspec.Struct, frozen=True):
    """One result."""

    title: str
    url: str
    snippet: str


class _NoKey(Exception):
    """Serper has no key here; that is a choice, not a failure."""


class _Search:
    """The handler of one use of the tool."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self._ways: dict[Engine, Callable[[str, str, ToolContext], Awaitable[list[Hit]]]] = {
            "serper": self._serper,
            "duckduckgo": self._duckduckgo,
            "duckduckgo_lite": self._duckduckgo,
        }

    async def search(self, query: str, context: ToolContext) -> dict[str, object]:
        urls: dict[str, str] = context.resources.get("search_urls") or {}
        failures: list[str] = []
        for engine in self._settings.engines:
            try:
                hits = await self._ways[engine](query, urls.get(engine, _URLS[engine]), context)
            except _NoKey:
                failures.append(f"{engine}: no secret {self._settings.secret!r} is stored")
            except Problem as problem:
                failures.append(f"{engine}: {problem.detail}")
            else:
                return {"engine": engine, "results": hits[: self._settings.results]}
        raise ToolError(f"No search engine answered. {'; '.join(failures)}")

    async def _serper(self, query: str, url: str, context: ToolContext) -> list[Hit]:
        try:
            key: str = await context.need("secrets", plugin.name)(self._settings.secret, host_of(url))
        except (NotFound, ToolUnavailable):
            raise _NoKey from None
        body: dict[str, object] = {"q": query, "num": self._settings.results}
        if self._settings.country:
            body["gl"] = self._settings.country
        answer = await guarded(context, plugin.name).request(
            "POST",
            url,
            headers={"X-API-KEY": key},
            json=body,
            timeout=self._settings.timeout,
            max_bytes=_MAX_BYTES,
        )
        _expect_ok(answer)
        return _serper_hits(answer.json())

    async def _duckduckgo(self, query: str, url: str, context: ToolContext) -> list[Hit]:
        params = {"q": query}
        if self._settings.country:
            params["kl"] = f"{self._settings.country}-{self._settings.country}"
        answer = await guarded(context, plugin.name).request(
            "GET",
            url,
            params=params,
            headers={"User-Agent": _BROWSER, "Accept": "text/html"},
            timeout=self._settings.timeout,
            max_bytes=_MAX_BYTES,
        )
        _expect_ok(answer)
        page = _Page()
        page.feed(answer.text)
        page.close()
        if not page.hits and "no-results" not in answer.text and "No results" not in answer.text:
            raise ToolError("the page has no results that can be read")
        return page.hits


def _expect_ok(answer: Answer) -> None:
    if answer.status != _OK:  # DuckDuckGo says 202 to those whom it takes for robots
        raise ToolError(f"status {answer.status}")


def _serper_hits(document: Any) -> list[Hit]:  # noqa: ANN401 - whatever the server sent
    try:
        return [Hit(str(r["title"]), str(r["link"]), str(r.get("snippet", ""))) for r in document["organic"]]
    except (KeyError, TypeError, AttributeError):
        raise ToolError("the answer has no list of results") from None


class _Page(HTMLParser):
    """Reads the results from either of DuckDuckGo's pages without scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.hits: list[Hit] = []
        self._url = ""
        self._title: list[str] = []
        self._snippet: list[str] = []
        self._into: list[str] | None = None
        self._until = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        classes = (facts.get("class") or "").split()
        if tag == "a" and ("result__a" in classes or "result-link" in classes):
            self._flush()
            self._url = _target(facts.get("href") or "")
            self._into, self._until = self._title, tag
        elif "result__snippet" in classes or "result-snippet" in classes:
            self._into, self._until = self._snippet, tag

    def handle_endtag(self, tag: str) -> None:
        if self._into is not None and tag == self._until:
            self._into = None
        if tag == "html":
            self._flush()

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into.append(data)

    def close(self) -> None:
        super().close()
        self._flush()

    def _flush(self) -> None:
        title = " ".join("".join(self._title).split())
        if self._url and title:
            self.hits.append(Hit(title, self._url, " ".join("".join(self._snippet).split())))
        self._url, self._title, self._snippet, self._into = "", [], [], None


def _target(href: str) -> str:
    """Give where a result leads; DuckDuckGo wraps it in a link to itself, and advertisements lead nowhere."""
    url = f"https:{href}" if href.startswith("//") else href
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.hostname and parts.hostname.endswith("duckduckgo.com"):
        return next(iter(parse_qs(parts.query).get("uddg", [])), "") if parts.path == "/l/" else ""
    return url if parts.scheme in ("http", "https") else ""


_PARAMETERS = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "minLength": 1, "maxLength": 400, "description": "Words to search the web for."}
    },
    "required": ["query"],
    "additionalProperties": False,
}


async def _make(settings: SearchSettings, name: str | None, _context: ToolContext) -> list[Tool]:
    return [
        Tool(
            name or plugin.name,
            plugin.description,
            _PARAMETERS,
            _Search(settings).search,
            pure=True,
            timeout=settings.timeout * len(settings.engines) + 5,
            takes_context=True,
        )
    ]


plugin = ToolPlugin("web_search", "Searches the web and gives titles, addresses and snippets.", SearchSettings, _make)
