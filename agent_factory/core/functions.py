"""The functions that expressions may call, each bounded in what it makes."""

import math
from collections.abc import Callable
from typing import Any, cast

import msgspec

MAX_TEXT = 1_000_000
"""Characters of a text that an expression may make."""

MAX_ITEMS = 100_000
"""Items of a list that an expression may make."""

MAX_INT = 2**63
"""Integers stay below this in magnitude, as in most JSON readers."""


def number(value: Any) -> int | float:  # noqa: ANN401 - any JSON value is asked
    """Return a bounded, finite number; anything else is a `TypeError` or `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{_short(value)} is no number")
    if isinstance(value, int):
        if not -MAX_INT < value < MAX_INT:
            raise ValueError("the number is too large")
    elif not math.isfinite(value):
        raise ValueError("the number is not finite")
    return value


def sized(size: int, most: int) -> None:
    """Raise `ValueError` when something would become larger than it may."""
    if size > most:
        raise ValueError(f"the result would have {size} elements; at most {most} are possible")


def _short(value: object) -> str:
    if isinstance(value, str):
        return repr(value[:50])
    return "null" if value is None else type(value).__name__


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value is asked
    if not isinstance(value, str):
        raise TypeError(f"{_short(value)} is no text")
    return value


def _items(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON value is asked
    if not isinstance(value, list):
        raise TypeError(f"{_short(value)} is no list")
    return cast("list[Any]", value)


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value is asked
    if not isinstance(value, dict):
        raise TypeError(f"{_short(value)} is no object")
    return cast("dict[str, Any]", value)


def weighed(value: Any, most: int) -> int:  # noqa: ANN401 - any JSON value is asked
    """Estimate the bytes of a value's JSON; more than `most` is a `ValueError`, found before anything is written.

    A value may hold the same large one many times over, which costs nothing until it is written out.
    """
    weight = 0
    todo = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, str):
            weight += len(part) + 2
        elif isinstance(part, dict):
            fields = cast("dict[str, Any]", part)
            weight += 2 + sum(len(k) + 4 for k in fields)
            todo.extend(fields.values())
        elif isinstance(part, list | tuple):
            items = cast("list[Any]", part)
            weight += 2 + len(items)
            todo.extend(items)
        else:
            weight += 5
        if weight > most:
            raise ValueError(f"the value would have more than {most} bytes")
    return weight


def _string(value: Any) -> str:  # noqa: ANN401 - any JSON value is written
    return value if isinstance(value, str) else _json(value)


def _integer(value: Any) -> int:  # noqa: ANN401 - any JSON value is asked
    if isinstance(value, str):
        sized(len(value), 30)
        return int(number(int(value)))
    return int(number(int(number(value))))


def _decimal(value: Any) -> float:  # noqa: ANN401 - any JSON value is asked
    if isinstance(value, str):
        sized(len(value), 400)
        return float(number(float(value)))
    return float(number(value))


def _replace(text: Any, old: Any, new: Any) -> str:  # noqa: ANN401 - any JSON value is asked
    text, old, new = _text(text), _text(old), _text(new)
    sized(len(text) + text.count(old) * max(0, len(new) - len(old)), MAX_TEXT)
    return text.replace(old, new)


def _join(items: Any, between: Any = "") -> str:  # noqa: ANN401 - any JSON value is asked
    words, between = [_string(i) for i in _items(items)], _text(between)
    sized(sum(map(len, words)) + len(words) * len(between), MAX_TEXT)
    return between.join(words)


def _split(text: Any, at: Any) -> list[str]:  # noqa: ANN401 - any JSON value is asked
    text, at = _text(text), _text(at)
    sized(text.count(at) + 1, MAX_ITEMS)
    return text.split(at)


def _round(value: Any, places: Any = 0) -> int | float:  # noqa: ANN401 - any JSON value is asked
    places = _integer(places)
    if not -15 <= places <= 15:  # noqa: PLR2004 - a double has 15 to 17 digits
        raise ValueError("round takes -15 to 15 places")
    return number(round(number(value), places) if places > 0 else int(round(number(value), places)))


def _range(count: Any) -> list[int]:  # noqa: ANN401 - any JSON value is asked
    count = _integer(count)
    sized(count, MAX_ITEMS)
    return list(range(count))


def _unique(items: Any) -> list[Any]:  # noqa: ANN401 - any JSON value is asked
    seen: dict[str, Any] = {}
    for item in _items(items):
        seen.setdefault(msgspec.json.encode(item, order="sorted").decode(), item)
    return list(seen.values())


def _parse_json(text: Any) -> Any:  # noqa: ANN401 - any JSON value comes out
    sized(len(_text(text)), MAX_TEXT)
    return msgspec.json.decode(text)


def _get(holder: Any, key: Any, otherwise: Any = None) -> Any:  # noqa: ANN401 - any JSON value is asked
    return _object(holder).get(_text(key), otherwise)


def _extreme(pick: Callable[..., Any]) -> Callable[..., Any]:
    def run(*values: Any) -> Any:  # noqa: ANN401 - any JSON value is asked
        items = _items(values[0]) if len(values) == 1 else list(values)
        return pick([number(i) for i in items])

    return run


def _contains(holder: Any, item: Any) -> bool:  # noqa: ANN401 - any JSON value is asked
    return _text(item) in holder if isinstance(holder, str) else item in _items(holder)


def _default(value: Any, otherwise: Any) -> Any:  # noqa: ANN401 - any JSON value is asked
    return otherwise if value is None else value


def _at(index: int) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:  # noqa: ANN401 - any JSON value is asked
        return _items(value)[index] if value else None

    return run


def _of_text(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*values: Any) -> Any:  # noqa: ANN401 - any JSON value is asked
        return function(*[_text(v) for v in values])

    return run


def _of_number(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:  # noqa: ANN401 - any JSON value is asked
        return number(function(number(value)))

    return run


def _of_items(function: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:  # noqa: ANN401 - any JSON value is asked
        return function(_items(value))

    return run


def _of_object(function: Callable[[dict[str, Any]], Any]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:  # noqa: ANN401 - any JSON value is asked
        return function(_object(value))

    return run


def _json(value: Any) -> str:  # noqa: ANN401 - any JSON value is written
    weighed(value, MAX_TEXT)
    return msgspec.json.encode(value).decode()


def _total(items: list[Any]) -> int | float:
    return number(sum(number(i) for i in items))


def _sorted(items: list[Any]) -> list[Any]:
    if not all(isinstance(i, str) for i in items):
        return sorted(number(i) for i in items)
    return sorted(items)


def _reversed(items: list[Any]) -> list[Any]:
    return items[::-1]


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "abs": (_of_number(abs), 1, 1),
    "bool": (bool, 1, 1),
    "ceil": (_of_number(math.ceil), 1, 1),
    "contains": (_contains, 2, 2),
    "default": (_default, 2, 2),
    "ends_with": (_of_text(str.endswith), 2, 2),
    "first": (_at(0), 1, 1),
    "float": (_decimal, 1, 1),
    "floor": (_of_number(math.floor), 1, 1),
    "get": (_get, 2, 3),
    "int": (_integer, 1, 1),
    "join": (_join, 1, 2),
    "json": (_json, 1, 1),
    "keys": (_of_object(list), 1, 1),
    "last": (_at(-1), 1, 1),
    "len": (len, 1, 1),
    "lower": (_of_text(str.lower), 1, 1),
    "max": (_extreme(max), 1, 100),
    "min": (_extreme(min), 1, 100),
    "parse_json": (_parse_json, 1, 1),
    "range": (_range, 1, 1),
    "replace": (_replace, 3, 3),
    "reverse": (_of_items(_reversed), 1, 1),
    "round": (_round, 1, 2),
    "sort": (_of_items(_sorted), 1, 1),
    "split": (_split, 2, 2),
    "starts_with": (_of_text(str.startswith), 2, 2),
    "str": (_string, 1, 1),
    "sum": (_of_items(_total), 1, 1),
    "trim": (_of_text(str.strip), 1, 1),
    "unique": (_unique, 1, 1),
    "upper": (_of_text(str.upper), 1, 1),
    "values": (_of_object(lambda v: list(v.values())), 1, 1),
}
"""Each function with the least and the most values that it takes."""

DEEP = frozenset({"contains", "join", "json", "str", "unique"})
"""Those that read values with all that they hold."""
