"""How bodies that are read by msgspec are told to OpenAPI."""

from typing import Any, cast

import msgspec


def body(type_: type[Any]) -> dict[str, Any]:
    """Describe a request body; definitions are written out where they are used."""
    document = msgspec.json.schema(type_)
    schema = _inlined(document, document.get("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def answer(description: str, *, stream: bool = False) -> dict[int | str, dict[str, Any]]:
    """Describe a successful answer whose exact form the protocol's own documentation tells."""
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if stream:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {200: {"description": description, "content": content}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - any piece of a schema
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    found = cast("dict[str, Any]", schema)
    if "$ref" in found:
        return _inlined(definitions[found["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in found.items() if key != "$defs"}
