"""Operations of any OpenAPI 3 document as tools, each with the schema that the document gives it."""

import re
from functools import partial
from typing import Any, Self

import orjson
import pydantic
import yaml
from pydantic import Field

from agent_factory.core.deadline import in_thread
from agent_factory.core.plugin import Settings, ToolPlugin
from agent_factory.core.tool import Tool, ToolContext
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.security.outgoing import (
    BoundSecret,
    FixedHeaders,
    credentials,
    guarded,
    host_of,
    merged_headers,
    readable,
)
from agent_factory.tools.openapi_document.operations import Operation, base_url, operations, read_operation, request

_MAX_DOCUMENT = 5_000_000
_MOST_TOOLS = 128
_OK = 200
_PARSING_SECONDS = 60.0
_MAX_DEPTH = 200
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader where PyYAML was built with it: ten times as fast."""

_BEGINS = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_ENDS = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


class OpenApiSettings(Settings):
    """The document, the operations to offer, and where and how their requests are sent."""

    document: dict[str, Any] | None = Field(default=None, description="The document itself.")
    url: str | None = Field(default=None, max_length=2_000, description="Where the document is, as JSON or YAML.")
    operations: tuple[str, ...] | None = Field(
        default=None, description="By operationId, or as 'GET /path'; all when left out."
    )
    base_url: str | None = Field(default=None, max_length=2_000, description="Instead of the document's first server.")
    headers: FixedHeaders = Field(default_factory=dict[str, str])
    secrets: tuple[BoundSecret, ...] = Field(default=(), max_length=20)
    timeout: float = Field(default=30.0, gt=0, le=120)
    max_bytes: int = Field(default=1_000_000, ge=1, le=10_000_000)

    @pydantic.model_validator(mode="after")
    def _one_document(self) -> Self:
        if (self.document is None) == (self.url is None):
            raise ValueError("set either document or url")
        return self


async def _document(settings: OpenApiSettings, context: ToolContext) -> dict[str, Any]:
    if settings.document is not None:
        return settings.document
    url = settings.url or ""
    sent = await credentials(settings.secrets, url, context, plugin.name)
    answer = await guarded(context, plugin.name).request(
        "GET",
        url,
        headers=sent.headers,
        params=sent.params,
        timeout=settings.timeout,
        max_bytes=_MAX_DOCUMENT,
        redirects=0 if settings.secrets else 3,
    )
    if answer.status != _OK:
        raise _invalid(f"its address answers with status {answer.status}")
    return await in_thread(partial(_parsed, answer.body), _PARSING_SECONDS)  # megabytes of YAML take seconds


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            _check_yaml(body)
            document = yaml.load(body, Loader=_LOADER)  # noqa: S506 - the loader is a safe one
        except (yaml.YAMLError, ValueError):
            raise _invalid("it is neither JSON nor YAML") from None
    if not isinstance(document, dict):
        raise _invalid("it is no object")
    return document  # pyright: ignore[reportUnknownVariableType] - any JSON object


def _check_yaml(body: bytes) -> None:
    """Refuse aliases, by which a small document may mean an endless one, and nesting that no loader survives."""
    depth = 0
    for token in yaml.scan(body, Loader=_LOADER):
        depth += isinstance(token, _BEGINS) - isinstance(token, _ENDS)
        if depth > _MAX_DEPTH:
            raise _invalid("it is nested too deeply")
        if isinstance(token, yaml.AliasToken):
            raise _invalid("its YAML has aliases")


def _chosen(document: dict[str, Any], wanted: tuple[str, ...] | None) -> list[Operation]:
    if not str(document.get("openapi", "")).startswith("3."):
        raise _invalid("it is not of OpenAPI 3")
    known = {id_: (id_, method, path) for id_, method, path in operations(document)}
    by_path = {f"{method.upper()} {path}": id_ for id_, method, path in known.values()}
    ids = list(known) if wanted is None else [w if w in known else by_path.get(w, w) for w in wanted]
    missing = [
        FieldError(f"/config/operations/{i}", f"the document has no operation {id_!r}")
        for i, id_ in enumerate(ids)
        if id_ not in known
    ]
    if missing:
        raise Invalid(f"The operations are: {', '.join(known)[:2_000] or 'none'}.", errors=missing)
    if len(ids) > _MOST_TOOLS:
        raise _invalid(f"it has {len(ids)} operations; choose at most {_MOST_TOOLS} with `operations`")
    return [read_operation(document, *known[id_]) for id_ in dict.fromkeys(ids)]


def _tool(operation: Operation, base: str, name: str, settings: OpenApiSettings) -> Tool:
    host = host_of(base, at="/config/base_url")

    async def call(arguments: dict[str, Any], context: ToolContext) -> dict[str, object]:
        asked = request(operation, base, arguments)
        if host_of(asked.url) != host:
            raise Invalid("The values make another host's URL.", errors=[FieldError("", "leads to another host")])
        sent = await credentials(settings.secrets, asked.url, context, plugin.name)
        answer = await guarded(context, plugin.name).request(
            operation.method,
            asked.url,
            headers=merged_headers(settings.headers, asked.headers, sent.headers),
            params=sent.params,
            json=asked.json,
            body=asked.body,
            timeout=settings.timeout,
            max_bytes=settings.max_bytes,
        )
        return readable(answer, sent.values)

    return Tool(
        name,
        operation.description,
        operation.schema(),
        call,
        pure=operation.method in ("GET", "HEAD"),
        timeout=settings.timeout + 5,
        takes_context=True,
        convert=_whole,
    )


def _whole(arguments: dict[str, Any]) -> dict[str, Any]:
    """Hand the arguments on as one value: their names are the document's, and one may be `context`."""
    return {"arguments": arguments}


def _name(operation: Operation, prefix: str | None) -> str:
    made = re.sub(r"[^A-Za-z0-9_-]+", "_", operation.id).strip("_") or "operation"
    return (f"{prefix}_{made}" if prefix else made)[:64]


def _invalid(detail: str) -> Invalid:
    return Invalid("This OpenAPI document cannot be used.", errors=[FieldError("/config/document", detail)])


async def _make(settings: OpenApiSettings, name: str | None, context: ToolContext) -> list[Tool]:
    document = await _document(settings, context)
    chosen = _chosen(document, settings.operations)
    base = settings.base_url or base_url(document, settings.url)
    return [_tool(operation, base, _name(operation, name), settings) for operation in chosen]


plugin = ToolPlugin(
    "openapi",
    "Offers operations of an OpenAPI 3 document as tools.",
    OpenApiSettings,
    _make,
    example={
        "document": {
            "openapi": "3.1.0",
            "info": {"title": "Weather", "version": "1"},
            "servers": [{"url": "https://api.example.com/v1"}],
            "paths": {
                "/cities/{city}/weather": {
                    "get": {
                        "operationId": "get_weather",
                        "summary": "The weather of a city.",
                        "parameters": [
                            {"name": "city", "in": "path", "required": True, "schema": {"type": "string"}},
                            {"name": "days", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 10}},
                        ],
                    }
                }
            },
        }
    },
)
