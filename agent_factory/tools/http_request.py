"""HTTP requests through the guarded client, to hosts and by methods that the agent's author names."""

from typing import Any, Literal

from pydantic import Field

from agent_factory.core.plugin import Settings, ToolPlugin
from agent_factory.core.tool import Tool, ToolContext, ToolDenied
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.security.outgoing import (
    BoundSecret,
    FixedHeaders,
    allows,
    credentials,
    guarded,
    host_of,
    merged_headers,
    readable,
)

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

_SAFE = {"GET", "HEAD"}


class HttpSettings(Settings):
    """Where requests may go and how. `*` stands for every public host, `*.example.com` for all below it."""

    hosts: tuple[str, ...] = Field(default=("*",), min_length=1, max_length=100)
    methods: tuple[Method, ...] = Field(default=("GET", "HEAD"), min_length=1)
    headers: FixedHeaders = Field(default_factory=dict[str, str])
    secrets: tuple[BoundSecret, ...] = Field(default=(), max_length=20)
    timeout: float = Field(default=30.0, gt=0, le=120)
    max_bytes: int = Field(default=1_000_000, ge=1, le=10_000_000)


class _Requests:
    """The handler of one use of the tool."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings

    async def request(
        self,
        *,
        url: str,
        context: ToolContext,
        method: str = "",
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        json: object = None,
        body: str | None = None,
    ) -> dict[str, object]:
        settings = self._settings
        host = host_of(url)
        client = guarded(context, plugin.name)
        if not allows(settings.hosts, host):
            client.refuse(host)
            raise ToolDenied(f"Requests to {host} are not allowed here; allowed: {', '.join(settings.hosts)}.")
        if json is not None and body is not None:
            raise Invalid("Send json or body, not both.", errors=[FieldError("/body", "json is given too")])
        sent = await credentials(settings.secrets, url, context, plugin.name)
        answer = await client.request(
            method or settings.methods[0],
            url,
            headers=merged_headers(settings.headers, headers or {}, sent.headers),
            json=json,
            body=None if body is None else body.encode(),
            params={**(params or {}), **sent.params},
            timeout=settings.timeout,
            max_bytes=settings.max_bytes,
        )
        return readable(answer, sent.values)


def _parameters(settings: HttpSettings) -> dict[str, Any]:
    texts = {"type": "object", "maxProperties": 50, "additionalProperties": {"type": "string", "maxLength": 8_000}}
    properties: dict[str, Any] = {
        "url": {"type": "string", "maxLength": 8_000, "description": "A whole URL; redirects are not followed."},
        "method": {"type": "string", "enum": list(settings.methods), "default": settings.methods[0]},
        "headers": texts,
        "params": {**texts, "description": "Added to the URL's query."},
    }
    if not _SAFE.issuperset(settings.methods):
        properties["json"] = {"description": "Sent as a JSON body."}
        properties["body"] = {"type": "string", "maxLength": 1_000_000, "description": "Sent as it is."}
    return {"type": "object", "properties": properties, "required": ["url"], "additionalProperties": False}


async def _make(settings: HttpSettings, name: str | None, _context: ToolContext) -> list[Tool]:
    return [
        Tool(
            name or plugin.name,
            plugin.description,
            _parameters(settings),
            _Requests(settings).request,
            pure=_SAFE.issuperset(settings.methods),
            timeout=settings.timeout + 5,
            takes_context=True,
        )
    ]


plugin = ToolPlugin(
    "http_request",
    "Makes an HTTP request to a public server and gives status, headers and body.",
    HttpSettings,
    _make,
)
