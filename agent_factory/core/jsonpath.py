"""JSONPath (RFC 9535) over JSON values, without the functions on regular expressions, and bounded (S85).

Names, indexes, slices, wildcards, descendants, lists of selectors, and filters
with comparisons, `&& || !`, paths from `@` and `$`, `length`, `count` and `value`.
"""

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from agent_factory.kit.errors import Invalid

MAX_CHARACTERS = 2_000
MAX_VISITS = 1_000_000
"""Values that one evaluation may look at."""

MAX_RESULTS = 100_000
MAX_SEGMENTS = 50
"""Steps of one path."""

_LETTERS = 256
"""Characters of two texts that are compared in the time of one look."""

_MAX_DEPTH = 20
_MAX_INT = 2**53

Value = Any
Path = Callable[[Value], Value]
Selector = Callable[["_Walk", Value], Iterator[Value]]
Test = Callable[["_Walk", Value], Value]
Comparison = Callable[["_Walk", Value, Value], bool]


class JsonPathInvalid(Invalid):
    """A text that is no JSONPath of ours."""

    code = "jsonpath_invalid"
    title = "Not a valid JSONPath"


class JsonPathFailed(Invalid):
    """A path that would look at more values than it may."""

    code = "jsonpath_failed"
    title = "The JSONPath failed"


def compile_path(text: str) -> Path:
    """Turn a JSONPath into a function of a JSON value.

    A path that can name only one place, of names and indexes alone, gives the
    value there or null; any other gives the list of all values that it finds.
    Raises `JsonPathInvalid`; the function raises `JsonPathFailed` for what
    looks at more than a million values.
    """
    if len(text) > MAX_CHARACTERS:
        raise JsonPathInvalid(f"A JSONPath has at most {MAX_CHARACTERS} characters.")
    reader = _Reader(text)
    reader.expect("$")
    query, singular = reader.segments(0)
    reader.end()

    def run(value: Value) -> Value:
        found: list[Value] = []
        try:
            for item in query(_Walk(value), value):
                found.append(item)
                if len(found) > MAX_RESULTS:
                    raise JsonPathFailed(f"The path finds more than {MAX_RESULTS} values.")
        except RecursionError:
            raise JsonPathFailed("The values are nested too deeply to be compared.") from None
        return (found[0] if found else None) if singular else found

    return run


class _Walk:
    """One evaluation: the root, and how much has been looked at."""

    def __init__(self, root: Value) -> None:
        self.root = root
        self._visits = 0

    def visit(self, count: int = 1) -> None:
        self._visits += count
        if self._visits > MAX_VISITS:
            raise JsonPathFailed(f"The path looks at more than {MAX_VISITS} values.")


def _children(value: Value) -> Iterator[Value]:
    if isinstance(value, dict):
        yield from cast("dict[str, Value]", value).values()
    elif isinstance(value, list):
        yield from cast("list[Value]", value)


def _name(name: str) -> Selector:
    def select(walk: _Walk, value: Value) -> Iterator[Value]:
        walk.visit()
        if isinstance(value, dict) and name in value:
            yield cast("dict[str, Value]", value)[name]

    return select


def _index(index: int) -> Selector:
    def select(walk: _Walk, value: Value) -> Iterator[Value]:
        walk.visit()
        if isinstance(value, list):
            items = cast("list[Value]", value)
            if -len(items) <= index < len(items):
                yield items[index]

    return select


def _slice(start: int | None, end: int | None, step: int) -> Selector:
    def select(walk: _Walk, value: Value) -> Iterator[Value]:
        walk.visit()
        if isinstance(value, list) and step:
            items = cast("list[Value]", value)
            for at in range(*slice(start, end, step).indices(len(items))):
                walk.visit()
                yield items[at]

    return select


def _wildcard(walk: _Walk, value: Value) -> Iterator[Value]:
    for child in _children(value):
        walk.visit()
        yield child


def _filter(test: Test) -> Selector:
    def select(walk: _Walk, value: Value) -> Iterator[Value]:
        for child in _children(value):
            walk.visit()
            if test(walk, child):
                yield child

    return select


def _union(selectors: list[Selector]) -> Selector:
    if len(selectors) == 1:
        return selectors[0]

    def select(walk: _Walk, value: Value) -> Iterator[Value]:
        for selector in selectors:
            yield from selector(walk, value)

    return select


def _descendants(selector: Selector) -> Selector:
    def select(walk: _Walk, value: Value) -> Iterator[Value]:
        todo = [value]
        while todo:
            at = todo.pop()
            walk.visit()
            yield from selector(walk, at)
            children = list(_children(at))
            walk.visit(len(children))
            todo.extend(reversed(children))

    return select


def _query(segments: list[Selector]) -> Selector:
    def select(walk: _Walk, value: Value, at: int = 0) -> Iterator[Value]:
        if at == len(segments):
            yield value
            return
        for found in segments[at](walk, value):
            yield from select(walk, found, at + 1)

    return select


class _Nothing:
    """The value of a path that finds none; equal to nothing but itself."""


_NOTHING = _Nothing()
_TOKEN = re.compile(r"[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*")
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_COMPARISON = re.compile(r"==|!=|<=|>=|<|>")
_HEX = re.compile(r"[0-9A-Fa-f]{4}")
_HIGH, _LOW = range(0xD800, 0xDC00), range(0xDC00, 0xE000)
"""The halves of characters beyond the first plane."""

_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\", "'": "'", '"': '"'}


class _Reader:
    """Reads a path from left to right; each method reads one rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def wrong(self, what: str) -> JsonPathInvalid:
        return JsonPathInvalid(f"{self._text[:200]!r}: {what} at character {self._at + 1}.")

    def blank(self) -> None:
        while self._text[self._at : self._at + 1] in {" ", "\t", "\n", "\r"} and self._at < len(self._text):
            self._at += 1

    def take(self, token: str) -> bool:
        if self._text.startswith(token, self._at):
            self._at += len(token)
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise self.wrong(f"{token!r} is missing")

    def match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found.group()

    def end(self) -> None:
        if self._at != len(self._text):
            raise self.wrong("unexpected text")

    def segments(self, depth: int) -> tuple[Selector, bool]:
        """Read what follows `$` or `@`; tells whether it can name only one place."""
        segments: list[Selector] = []
        singular = True
        while True:
            start = self._at
            self.blank()
            if self.take(".."):
                selector = self._bracket(depth)[0] if self.take("[") else self._dotted()[0]
                segments.append(_descendants(selector))
                singular = False
            elif self.take("."):
                selector, one = self._dotted()
                segments.append(selector)
                singular = singular and one
            elif self.take("["):
                selector, one = self._bracket(depth)
                segments.append(selector)
                singular = singular and one
            else:
                self._at = start
                return _query(segments), singular
            if len(segments) > MAX_SEGMENTS:
                raise self.wrong(f"a path has at most {MAX_SEGMENTS} steps")

    def _dotted(self) -> tuple[Selector, bool]:
        if self.take("*"):
            return _wildcard, False
        name = self.match(_TOKEN)
        if name is None:
            raise self.wrong("a name is missing")
        return _name(name), True

    def _bracket(self, depth: int) -> tuple[Selector, bool]:
        selectors: list[Selector] = []
        singular = True
        while True:
            self.blank()
            selector, one = self._selector(depth)
            selectors.append(selector)
            singular = singular and one
            self.blank()
            if self.take("]"):
                return _union(selectors), singular and len(selectors) == 1
            self.expect(",")

    def _selector(self, depth: int) -> tuple[Selector, bool]:
        if self.take("*"):
            return _wildcard, False
        if self.take("?"):
            self.blank()
            return _filter(self.alternatives(depth + 1)), False
        if self._text[self._at : self._at + 1] in {"'", '"'}:
            return _name(self.quoted()), True
        start = self._whole()
        self.blank()
        if not self.take(":"):
            if start is None:
                raise self.wrong("a selector is missing")
            return _index(start), True
        self.blank()
        end = self._whole()
        self.blank()
        step: int | None = None
        if self.take(":"):
            self.blank()
            step = self._whole()
        return _slice(start, end, 1 if step is None else step), False

    def _whole(self) -> int | None:
        text = self.match(_INT)
        if text is None:
            return None
        if text == "-0" or len(text) > len(str(_MAX_INT)) or abs(int(text)) >= _MAX_INT:
            raise self.wrong("the index is out of range")
        return int(text)

    def quoted(self) -> str:
        quote = self._text[self._at]
        self._at += 1
        out: list[str] = []
        while True:
            char = self._text[self._at : self._at + 1]
            if not char or (char < " "):
                raise self.wrong("the quote is not closed")
            self._at += 1
            if char == quote:
                return "".join(out)
            out.append(self._escape(quote) if char == "\\" else char)

    def _escape(self, quote: str) -> str:
        char = self._text[self._at : self._at + 1]
        self._at += 1
        if char == "u":
            return self._unicode()
        if char not in _ESCAPES or (char in {"'", '"'} and char != quote):
            raise self.wrong("an unknown escape")
        return _ESCAPES[char]

    def _unicode(self) -> str:
        first = self._hex()
        if first in _HIGH and self.take("\\u"):
            second = self._hex()
            if second in _LOW:
                return chr(0x10000 + ((first - _HIGH.start) << 10) + (second - _LOW.start))
        if first in _HIGH or first in _LOW:
            raise self.wrong("half of a character")
        return chr(first)

    def _hex(self) -> int:
        digits = self.match(_HEX)
        if digits is None:
            raise self.wrong("four hexadecimal digits are missing")
        return int(digits, 16)

    def alternatives(self, depth: int) -> Test:
        """Read conditions with `||` between them."""
        if depth > _MAX_DEPTH:
            raise self.wrong(f"conditions nest more than {_MAX_DEPTH} deep")
        parts = [self._all(depth)]
        self.blank()
        while self.take("||"):
            self.blank()
            parts.append(self._all(depth))
            self.blank()
        return parts[0] if len(parts) == 1 else lambda walk, value: any(part(walk, value) for part in parts)

    def _all(self, depth: int) -> Test:
        parts = [self._condition(depth)]
        self.blank()
        while self.take("&&"):
            self.blank()
            parts.append(self._condition(depth))
            self.blank()
        return parts[0] if len(parts) == 1 else lambda walk, value: all(part(walk, value) for part in parts)

    def _condition(self, depth: int) -> Test:
        if self.take("!"):
            self.blank()
            test = self._grouped(depth) if self.take("(") else self._exists(depth)
            return lambda walk, value: not test(walk, value)
        if self.take("("):
            return self._grouped(depth)
        start = self._at
        if self._text[start : start + 1] in {"@", "$"}:
            query = self._relative(depth)[0]
            self.blank()
            if self.match(_COMPARISON) is None:
                return lambda walk, value: next(query(walk, value), _NOTHING) is not _NOTHING
            self._at = start
        left = self._comparable(depth)
        self.blank()
        word = self.match(_COMPARISON)
        if word is None:
            raise self.wrong("a comparison is missing")
        self.blank()
        right = self._comparable(depth)
        compare = _COMPARES[word]
        return lambda walk, value: compare(walk, left(walk, value), right(walk, value))

    def _grouped(self, depth: int) -> Test:
        self.blank()
        test = self.alternatives(depth + 1)
        self.blank()
        self.expect(")")
        return test

    def _exists(self, depth: int) -> Test:
        query = self._relative(depth)[0]
        return lambda walk, value: next(query(walk, value), _NOTHING) is not _NOTHING

    def _relative(self, depth: int) -> tuple[Selector, bool]:
        from_root = self.take("$")
        if not from_root:
            self.expect("@")
        if depth > _MAX_DEPTH:
            raise self.wrong(f"conditions nest more than {_MAX_DEPTH} deep")
        query, singular = self.segments(depth + 1)
        if from_root:
            return (lambda walk, _value: query(walk, walk.root)), singular
        return query, singular

    def _comparable(self, depth: int) -> Test:
        char = self._text[self._at : self._at + 1]
        if char in {"@", "$"}:
            query, singular = self._relative(depth)
            if not singular:
                raise self.wrong("only a path that names one place can be compared")
            return lambda walk, value: next(query(walk, value), _NOTHING)
        if char in {"'", '"'}:
            text = self.quoted()
            return lambda _walk, _value: text
        number = self.match(_NUMBER)
        if number is not None:
            if len(number) > 40:  # noqa: PLR2004 - longer than any number of 64 bits is written
                raise self.wrong("the number is too long")
            literal = float(number) if any(c in number for c in ".eE") else int(number)
            return lambda _walk, _value: literal
        word = self.match(_TOKEN)
        if word in _LITERALS:
            constant = _LITERALS[word]
            return lambda _walk, _value: constant
        if word in {"length", "count", "value"} and self.take("("):
            return self._function(word, depth)
        raise self.wrong("a value is missing; functions are length, count and value")

    def _function(self, word: str, depth: int) -> Test:
        self.blank()
        if depth > _MAX_DEPTH:
            raise self.wrong(f"conditions nest more than {_MAX_DEPTH} deep")
        if word == "length":
            of = self._comparable(depth + 1)
            self.blank()
            self.expect(")")
            return lambda walk, value: _length(of(walk, value))
        query = self._relative(depth)[0]
        self.blank()
        self.expect(")")
        if word == "count":
            return lambda walk, value: sum(1 for _ in query(walk, value))
        return lambda walk, value: _only(query(walk, value))


def _length(value: Value) -> Value:
    return len(cast("list[Value]", value)) if isinstance(value, str | list | dict) else _NOTHING


def _only(found: Iterator[Value]) -> Value:
    first = next(found, _NOTHING)
    return first if next(found, _NOTHING) is _NOTHING else _NOTHING


def _equal(walk: _Walk, a: Value, b: Value) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):  # to Python, true is 1
        return a is b
    if isinstance(a, str) and isinstance(b, str):
        walk.visit(1 + min(len(a), len(b)) // _LETTERS)
        return a == b
    if isinstance(a, list) and isinstance(b, list):
        left, right = cast("list[Value]", a), cast("list[Value]", b)
        walk.visit(1 + min(len(left), len(right)))
        return len(left) == len(right) and all(_equal(walk, x, y) for x, y in zip(left, right, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        one, two = cast("dict[str, Value]", a), cast("dict[str, Value]", b)
        walk.visit(1 + min(len(one), len(two)))
        return len(one) == len(two) and all(k in two and _equal(walk, v, two[k]) for k, v in one.items())
    return a == b


def _ordered(compare: Callable[[Value, Value], bool], *, equal: bool) -> Comparison:
    def run(walk: _Walk, a: Value, b: Value) -> bool:
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
        if isinstance(a, str) and isinstance(b, str):
            walk.visit(1 + min(len(a), len(b)) // _LETTERS)
            return compare(a, b)
        if numbers:
            return compare(a, b)
        return equal and _equal(walk, a, b)

    return run


_COMPARES: dict[str, Comparison] = {
    "==": _equal,
    "!=": lambda walk, a, b: not _equal(walk, a, b),
    "<": _ordered(operator.lt, equal=False),
    ">": _ordered(operator.gt, equal=False),
    "<=": _ordered(operator.le, equal=True),
    ">=": _ordered(operator.ge, equal=True),
}
_LITERALS: dict[str | None, Value] = {"true": True, "false": False, "null": None}
