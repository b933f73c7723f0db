"""Chooses the tools that a message asks for and fills in their arguments."""

import re
from collections.abc import Callable, Sequence
from typing import Any, cast
from zoneinfo import available_timezones

from agent_factory.core.model import ToolSpec
from agent_factory.providers.demonstration.arithmetic import expression
from agent_factory.providers.demonstration.minimal import document

_CALCULATOR = "calculator"
_MOST = 20_000
"""Characters of a message that are read; nobody hides a wish behind them."""
_URL = re.compile(r"https?://[^\s<>\"')\]]+")
_SQL = re.compile(r"\b(?:select|with|show|explain|insert|update|delete)\b.+", re.IGNORECASE | re.DOTALL)
_PATH = re.compile(r"(?:[\w.-]+/)+[\w.-]*|\b[\w-]+\.(?:txt|md|csv|json|ya?ml|log|html?|py|toml|ini|xml)\b")
_QUOTED = re.compile(r"[\"“'‘`]([^\"”'’`]{1,500})[\"”'’`]")  # noqa: RUF001 - the quotes that people type
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?")
_PLACE = re.compile(r"\b(?:in|for|at|of|to|from)\s+((?:[A-Z][\w'’-]+)(?:\s+[A-Z][\w'’-]+)*)")  # noqa: RUF001 - as typed
_PROPER = re.compile(r"(?<=[a-z,] )([A-Z][\w'-]+(?:\s+[A-Z][\w'-]+)*)")
_ASKING = re.compile(
    r"^\s*(?:please\s+)?(?:can you\s+|could you\s+)?(?:search|look|google|find|browse)\b"
    r"(?:\s+(?:up|out))?(?:\s+(?:the\s+)?(?:web|internet|online))?(?:\s+(?:for|about|on))?\s*",
    re.IGNORECASE,
)
_WISHES: tuple[tuple[re.Pattern[str], frozenset[str]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), frozenset(names.split()))
    for pattern, names in (
        (r"\b(?:search|google|look up|find out)\b(?!.*\bfiles?\b)|\bon the (?:web|internet)\b", "web search"),
        (r"\b(?:search|find|grep)\b.*\b(?:files?|folder|directory)\b", "file search"),
        (_URL.pattern, "fetch"),
        (_URL.pattern, "http"),
        (_URL.pattern, "url"),
        (_URL.pattern, "browse"),
        (r"\b(?:write|save|store|create)\b.*\bfile\b|\b(?:save|write) .* to\b", "write"),
        (r"\b(?:delete|remove)\b.*\bfile\b|\bdelete\s+\S+\.\w+", "delete"),
        (r"\blist\b.*\b(?:files?|folder|directory)\b", "list"),
        (r"\b(?:read|open|show|print|load)\b.*\bfile\b|\bread\s+\S+\.\w+", "read"),
        (r"\bwhat(?:'s| is)? (?:the )?(?:current )?(?:time|date)|\bwhat (?:day|time)\b", "time"),
        (r"\bcurrent (?:time|date)\b|\btoday'?s date\b|\bwhat(?:'s| is)? the date\b", "time"),
        (r"\bcurrent date\b|\btoday'?s date\b|\bwhat day\b|\bwhat(?:'s| is)? the date\b", "date"),
        (r"\bselect\b.+\bfrom\b|\bsql\b|\bquery the\b|\bdatabase\b", "sql"),
        (r"\bselect\b.+\bfrom\b|\bsql\b|\bquery the\b|\bdatabase\b", "database"),
    )
)
_VERBS = frozenset(
    {"get", "fetch", "find", "lookup", "look", "up", "read", "run", "do", "make", "tool", "the", "a", "of"}
)
_GENERIC = frozenset({"file", "files", "web", "current", "request", "query"}).union(*(names for _, names in _WISHES))


def planned(message: str, tools: Sequence[ToolSpec]) -> list[tuple[ToolSpec, dict[str, Any]]]:
    """List the calls that a message asks for, in the order of the tools, each with its arguments."""
    calls: list[tuple[ToolSpec, dict[str, Any]]] = []
    message = message[:_MOST]
    lowered = message.lower()
    for tool in tools:
        arithmetic = expression(message) if tool.name == _CALCULATOR else None
        if arithmetic is not None:
            calls.append((tool, {"expression": arithmetic}))
        elif _named(tool.name, lowered) or (tool.name != _CALCULATOR and _wished(tool, message, lowered)):
            calls.append((tool, arguments(tool, message)))
    return calls


def _named(name: str, lowered: str) -> bool:
    plain = name.lower()
    spaced = re.sub(r"[_-]+", " ", plain)
    return re.search(rf"(?<![\w-])(?:{re.escape(plain)}|{re.escape(spaced)})(?![\w-])", lowered) is not None


def _wished(tool: ToolSpec, message: str, lowered: str) -> bool:
    words = {w for w in re.split(r"[_\W]+|(?<=[a-z])(?=[A-Z])", tool.name) if w}
    words = {w.lower() for w in words}
    if "search" in words and "file" not in words:
        words.add("web")
    if any(names <= words and pattern.search(message) for pattern, names in _WISHES):
        return True
    telling = words - _VERBS
    return bool(telling - _GENERIC) and all(re.search(rf"\b{re.escape(w)}s?\b", lowered) for w in telling)


def arguments(tool: ToolSpec, message: str) -> dict[str, Any]:
    """Fill in a tool's arguments from a message, by the names and types of its schema."""
    properties: dict[str, Any] = tool.parameters.get("properties", {})
    required: list[str] = tool.parameters.get("required", [])
    out: dict[str, Any] = {}
    numbers = _NUMBER.findall(message)
    for name, schema in properties.items():
        shape = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
        value = _value(name.lower(), shape, message, numbers)
        if value is None and name in required:
            value = _fallback(shape, message, tool)
        if value is not None and (name in required or _telling(name, value, message)):
            out[name] = value
    return out


def _telling(name: str, value: object, message: str) -> bool:
    """Take an optional argument only where the message really says it."""
    return name.lower() in ("url", "path", "folder", "directory", "timezone", "expression", "sql") or (
        isinstance(value, str) and re.search(rf"\b{re.escape(name)}\b", message, re.IGNORECASE) is not None
    )


def _value(name: str, schema: dict[str, Any], message: str, numbers: list[str]) -> object:
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return _chosen(schema["enum"], message)
    said = re.search(
        rf"\b{re.escape(name).replace('_', '[ _]')}\b\s*(?:is|=|:|of)?\s*[\"'“]?([\w./:@-]+)", message, re.IGNORECASE
    )
    kind = schema.get("type", "string")
    if kind == "string":
        return _words(name, message) or (said[1] if said else None)
    if kind == "integer":
        return next((int(n) for n in numbers if "." not in n), None)
    if kind == "number" and numbers:
        return float(numbers[0])
    return schema.get("default")


def _chosen(options: list[Any], message: str) -> object:
    lowered = message.lower()
    return next((o for o in options if isinstance(o, str) and re.search(rf"\b{re.escape(o.lower())}", lowered)), None)


def _words(name: str, message: str) -> str | None:
    """Find what a text argument of this name is, in the message."""
    quoted = _QUOTED.search(message)
    said = quoted[1] if quoted else None
    for names, find in _FINDERS:
        if name in names or any(n.endswith("*") and n[:-1] in name for n in names):
            return find(message, said)
    return said


def _url(message: str, _: str | None) -> str | None:
    found = _URL.search(message)
    return found[0].rstrip(".,;!?") if found else None


def _path(message: str, said: str | None) -> str | None:
    found = _PATH.search(message)
    return found[0] if found else said


def _sql(message: str, _: str | None) -> str | None:
    found = _SQL.search(message)
    return found[0].strip().rstrip("?`") if found else None


def _place(message: str, _: str | None) -> str | None:
    found = _PLACE.search(message) or _PROPER.search(message)
    return found[1] if found else None


def _query(message: str, _: str | None) -> str:
    sql = _SQL.search(message)
    if sql and re.search(r"\bfrom\b", sql[0], re.IGNORECASE):
        return sql[0].strip()
    return _ASKING.sub("", message).strip().rstrip("?.!") or message


def _timezone(message: str, _: str | None) -> str | None:
    """Find the zone of a city that the message names, or the zone itself."""
    words = {w.strip(".,?!").lower() for w in message.replace("_", " ").split()}
    for zone in sorted(available_timezones()):
        if zone in message or set(zone.rpartition("/")[2].lower().split("_")) <= words:
            return zone
    return None


_FINDERS: tuple[tuple[frozenset[str], Callable[[str, str | None], str | None]], ...] = (
    (frozenset({"url", "uri", "link", "href"}), _url),
    (frozenset({"timezone", "tz"}), _timezone),
    (frozenset({"path*", "file*", "folder", "directory"}), _path),
    (frozenset({"expression"}), lambda message, _: expression(message)),
    (frozenset({"sql", "statement"}), _sql),
    (frozenset({"city", "location", "place", "country", "region"}), _place),
    (frozenset({"query", "q", "search", "question", "topic"}), _query),
    (frozenset({"prompt", "message", "input", "task", "instruction*", "request"}), lambda message, _: message),
    (frozenset({"content", "text", "body", "data"}), lambda message, said: said or message),
)
"""By an argument's name, how it is found; a star stands for a part of a name."""


def _fallback(schema: dict[str, Any], message: str, tool: ToolSpec) -> object:
    if schema.get("type", "string") == "string" and not schema.get("enum") and "format" not in schema:
        number = _NUMBER.search(message)
        place = _PLACE.search(message) or _PROPER.search(message)
        return place[1] if place else (number[0] if number else message)
    return document(schema | {k: v for k, v in tool.parameters.items() if k in ("$defs", "definitions")}, "")
