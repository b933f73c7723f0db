"""What a JSON body may hold, whatever the route that reads it."""

import json
import re

import orjson

from agent_factory.api.problems import Malformed

DEEPEST = 64
"""Levels of nesting; definitions and JSON Schemas that people write stay far below."""

_ESCAPED_NUL = b"\\u0000"
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACES_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
_WIDEST = 2**63


def check_json(body: bytes) -> None:
    """Raise `Malformed` for what is no JSON, or JSON that a part further in cannot hold.

    Refused are NaN and Infinity (also as 1e999), invalid UTF-8, lone
    surrogates, NUL characters, integers beyond 64 bits and deep nesting.
    """
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    # Only of sound JSON is it known that a look at its strings takes no longer than it is long.
    if body.count(b"[") + body.count(b"{") > DEEPEST and _is_deeper(body, DEEPEST):
        raise Malformed(f"The body is nested more than {DEEPEST} levels deep.")
    if _ESCAPED_NUL in body and _NUL.search(body):
        raise Malformed("The body holds a NUL character, which no text may have.")
    if _LONG_NUMBER.search(body):
        json.loads(body, parse_int=_bounded)


def _bounded(digits: str) -> int:
    if len(digits) > len(str(_WIDEST)) + 1 or not -_WIDEST <= int(digits) < _WIDEST:
        raise Malformed("The body holds an integer beyond 64 bits.")
    return int(digits)


def _is_deeper(body: bytes, levels: int) -> bool:
    """Tell whether sound JSON is nested deeper; brackets that close one another go, level by level from the inside."""
    left = _STRINGS.sub(b"", body).translate(_BRACES_AS_BRACKETS, _OTHERS)
    for _ in range(levels):
        left = left.replace(b"[]", b"")
    return bool(left)
