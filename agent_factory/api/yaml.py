"""YAML where people write it: bodies of definitions, read as the JSON that they mean."""

import asyncio
from typing import Any

import orjson
from starlette.requests import Request
from starlette.types import Message

from agent_factory.api.body import check_json
from agent_factory.api.problems import Malformed
from agent_factory.core import document

MEDIA = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})

READ_TOO: dict[str, Any] = {
    "requestBody": {"content": {"application/yaml": {"schema": {"type": "object", "additionalProperties": True}}}}
}
"""The `openapi_extra` of a route that reads YAML as well."""


def is_yaml(request: Request) -> bool:
    """Tell whether a request's body says that it is YAML."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() in MEDIA


async def as_json(request: Request) -> Request:
    """Give a request as if its body had been JSON; what is no YAML is `Malformed`, or `Invalid` at a pointer."""
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8 text.") from None
    # A long document takes a while, which others' requests should not wait for.
    found = await asyncio.to_thread(document.read, text)
    try:
        body = orjson.dumps(found)
    except orjson.JSONEncodeError as error:
        raise Malformed(f"The body says what JSON cannot: {error}.") from None
    check_json(body)
    headers = [
        (name, value) for name, value in request.scope["headers"] if name not in (b"content-type", b"content-length")
    ]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({**request.scope, "headers": headers}, receive)
