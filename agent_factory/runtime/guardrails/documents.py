"""Lets pattern rules look into the strings of a JSON document without breaking it."""

from collections.abc import Callable
from typing import Any, cast

import msgspec

_DEEPEST = 200


def read(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Read a text that looks like a JSON document; anything else is `None`."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def write(document: Any) -> str:  # noqa: ANN401 - any JSON
    """Write a document as JSON text."""
    return msgspec.json.encode(document).decode()


def words(document: Any) -> str:  # noqa: ANN401 - any JSON
    """Give every key and string of a document, a line each, as a model would read them."""
    found: list[str] = []

    def keep(value: str) -> str:
        found.append(value)
        return value

    rewrite(document, keep)
    return "\n".join(found)


def rewrite(document: Any, change: Callable[[str], str], depth: int = 0) -> Any:  # noqa: ANN401 - any JSON
    """Apply `change` to every key, string and number; a number that changes becomes a string."""
    if depth > _DEEPEST:
        return change(write(document))
    if isinstance(document, str):
        return change(document)
    if isinstance(document, dict):
        items = cast("dict[str, Any]", document).items()
        return {change(key): rewrite(value, change, depth + 1) for key, value in items}
    if isinstance(document, list):
        return [rewrite(value, change, depth + 1) for value in cast("list[Any]", document)]
    if isinstance(document, int | float) and not isinstance(document, bool):
        written = str(document)
        changed = change(written)
        return document if changed == written else changed
    return document
