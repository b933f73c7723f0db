"""The smallest sensible document that meets a JSON Schema."""

import math
from collections.abc import Callable
from typing import Any, cast

from agent_factory.core.schema import Schema
from agent_factory.kit.errors import Invalid

_DEEPEST = 12
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "demo@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def document(schema: dict[str, Any], words: str) -> object:
    """Make a document that meets the schema where simple rules can; free text holds `words`.

    Falls back to a document without `words` where they do not fit.
    """
    checked = _compiled(schema)
    spoken = _Maker(schema, words).make(schema, 0)
    if checked is None or checked.accepts(spoken):
        return spoken
    bare = _Maker(schema, "").make(schema, 0)
    return bare if checked.accepts(bare) else spoken


def _compiled(schema: dict[str, Any]) -> Schema | None:
    try:
        return Schema(schema)
    except Invalid:
        return None


class _Maker:
    """Walks one schema; the first free string gets the words."""

    def __init__(self, root: dict[str, Any], words: str) -> None:
        self._root = root
        self._words = words

    def make(self, schema: object, depth: int) -> object:
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return None if depth > _DEEPEST else self._text({})
        found = self._resolved(cast("dict[str, Any]", schema))
        for key in ("const", "default"):
            if key in found:
                return found[key]
        if found.get("enum"):
            return found["enum"][0]
        if found.get("examples"):
            return found["examples"][0]
        return self._typed(found, depth)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Follow references, take the first alternative and join what has to hold together."""
        for _ in range(_DEEPEST):
            reference = schema.get("$ref")
            choices: list[Any] = schema.get("anyOf") or schema.get("oneOf") or []
            parts: list[Any] = schema.get("allOf") or []
            rest = {k: v for k, v in schema.items() if k not in ("$ref", "anyOf", "oneOf", "allOf")}
            if isinstance(reference, str):
                schema = self._pointed(reference) | rest
            elif choices:
                schema = _first(choices) | rest
            elif parts:
                schema = _joined([rest, *parts])
            else:
                break
        return schema

    def _pointed(self, reference: str) -> dict[str, Any]:
        place: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            place = cast("dict[str, Any]", place).get(key, {}) if isinstance(place, dict) else {}
        return cast("dict[str, Any]", place) if isinstance(place, dict) else {}

    def _typed(self, schema: dict[str, Any], depth: int) -> object:
        kind = schema.get("type")
        if isinstance(kind, list):
            kinds = cast("list[str]", kind)
            kind = next((k for k in kinds if k != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "string"
        makers: dict[str, Callable[[], object]] = {
            "object": lambda: self._object(schema, depth),
            "array": lambda: self._array(schema, depth),
            "integer": lambda: _number(schema, whole=True),
            "number": lambda: _number(schema, whole=False),
            "boolean": lambda: True,
            "null": lambda: None,
        }
        return makers.get(kind, lambda: self._text(schema))()

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties", {})
        wanted: list[str] = list(schema.get("required", []))
        more = int(schema.get("minProperties", 0)) - len(wanted)
        wanted += [p for p in properties if p not in wanted][: max(0, more)]
        free = schema.get("additionalProperties")
        wanted += [f"key{i}" for i in range(int(schema.get("minProperties", 0)) - len(wanted))]
        return {name: self.make(properties.get(name, free), depth + 1) for name in wanted}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        first: list[Any] = list(schema.get("prefixItems", []))
        least = min(int(schema.get("minItems", 0)), 100)
        made = [self.make(s, depth + 1) for s in first[: max(least, 0)]]
        while len(made) < least:
            value = self.make(schema.get("items", {}), depth + 1)
            made.append(_other(value, len(made)) if schema.get("uniqueItems") and value in made else value)
        return made

    def _text(self, schema: dict[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 1_000_000))
        words = "" if "pattern" in schema else self._words
        value = (words if len(words) <= most else words[:most]) or "demo"[:most]
        if words:
            self._words = ""
        return value.ljust(min(least, 100_000), ".")


def _first(choices: list[Any]) -> dict[str, Any]:
    found = [cast("dict[str, Any]", c) for c in choices if isinstance(c, dict)]
    return next((c for c in found if c.get("type") != "null"), found[0] if found else {})


def _joined(parts: list[Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for part in parts:
        if not isinstance(part, dict):
            continue
        for key, value in cast("dict[str, Any]", part).items():
            if key == "properties" and key in out:
                out[key] = out[key] | value
            elif key == "required" and key in out:
                out[key] = [*out[key], *(v for v in value if v not in out[key])]
            else:
                out[key] = value
    return out


def _number(schema: dict[str, Any], *, whole: bool) -> float:
    step = schema.get("multipleOf") or (1 if whole else None)
    low: float = schema.get("minimum", -math.inf)
    high: float = schema.get("maximum", math.inf)
    nudge = step or 0.5
    if "exclusiveMinimum" in schema:
        low = max(low, schema["exclusiveMinimum"] + nudge)
    if "exclusiveMaximum" in schema:
        high = min(high, schema["exclusiveMaximum"] - nudge)
    value = min(max(0, low), high)
    if step:
        value = math.ceil(value / step) * step if value >= low else value
    return int(value) if whole or value == int(value) else value


def _other(value: object, salt: int) -> object:
    if isinstance(value, str):
        return f"{value} {salt}"
    return value + salt if isinstance(value, int | float) and not isinstance(value, bool) else value
