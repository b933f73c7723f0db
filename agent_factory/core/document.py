"""Reads YAML and JSON that strangers wrote into plain JSON data, and writes it (S105)."""

import json
import math
import re
from collections.abc import Hashable
from typing import Any, cast

import msgspec
import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from agent_factory.core.schema import MAX_DEPTH, pointer
from agent_factory.kit.errors import FieldError, Invalid

MAX_CHARACTERS = 2_000_000
MAX_NODES = 200_000
"""What all nodes come to once aliases are written out."""

_LEAST, _MOST = -(2**63), 2**64 - 1

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
"""YAML 1.2's core schema without octal, hexadecimal, infinity and NaN: `on`, `no`, `0123` and dates are text."""

_UNUSUAL = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\xa0\\u2028\\u2029\\ufeff]")
"""Characters that some reader of YAML takes for a line's end or for nothing, unless they are escaped."""

_Path = list[str | int]


def read(text: str, *, characters: int = MAX_CHARACTERS, depth: int = MAX_DEPTH, nodes: int = MAX_NODES) -> Any:  # noqa: ANN401 - any JSON
    """Read one YAML or JSON document as JSON data.

    Refuses, as `Invalid` at a JSON pointer: duplicate keys, tags, keys that
    are no text, numbers that JSON has not, and what has more characters,
    levels, or nodes with every alias written out, than given.
    """
    if len(text) > characters:
        raise _fault([], f"the document is longer than {characters} characters")
    if text.lstrip()[:1] in ("{", "["):
        try:
            return _read_json(text, depth)
        except json.JSONDecodeError:
            pass  # it may be YAML in flow style; whose report also has the line
    return _read_yaml(text, depth, nodes)


def _read_json(text: str, most: int) -> Any:  # noqa: ANN401 - any JSON
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else "a number is too large"
        raise _fault([], detail) from None
    _check(document, [], 0, most)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise _fault([], f"the key {twice[:100]!r} stands twice in one object")
    return out


def _no_constant(name: str) -> None:
    raise _fault([], f"{name} is not a JSON number")


def _check(node: Any, path: _Path, depth: int, most: int) -> None:  # noqa: ANN401 - any JSON
    """Refuse what YAML would refuse too: depth, and numbers beyond JSON's common range."""
    if isinstance(node, dict | list) and depth >= most:
        raise _fault(path, f"nested more than {most} deep")
    if isinstance(node, dict):
        for key, value in cast("dict[str, Any]", node).items():
            _check(value, [*path, key], depth + 1, most)
    elif isinstance(node, list):
        for index, value in enumerate(cast("list[Any]", node)):
            _check(value, [*path, index], depth + 1, most)
    elif isinstance(node, int | float):
        _number(node, path)


def _number(value: float, path: _Path) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        raise _fault(path, "the number is too large")
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        raise _fault(path, "the number does not fit 64 bits; write it as text")
    return value


def _fault(path: _Path, detail: str) -> Invalid:
    return Invalid("The document cannot be read.", errors=[FieldError(pointer(path), detail)])


def _read_yaml(text: str, depth: int, nodes: int) -> Any:  # noqa: ANN401 - any JSON
    loader = cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    builder = _Builder(depth, nodes)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise _fault(builder.path(), f"{where}{error.problem or 'not YAML'}") from None
    except (yaml.YAMLError, UnicodeEncodeError):
        raise _fault(builder.path(), "the text holds characters that YAML does not allow") from None
    return builder.root


class _Frame(msgspec.Struct):
    """A collection that is being read."""

    items: dict[str, Any] | list[Any]
    anchor: str | None
    nodes: int
    key: str | None = None


class _Builder:
    """Builds data from a stream of events, without recursion and without YAML's node graph."""

    def __init__(self, most_depth: int, most_nodes: int) -> None:
        self._most_depth = most_depth
        self._most_nodes = most_nodes
        self.root: Any = None
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self._documents = 0

    def path(self) -> _Path:
        """Give where the reading stands."""
        steps = [len(frame.items) if isinstance(frame.items, list) else frame.key for frame in self._stack]
        return [step for step in steps if step is not None]

    def take(self, event: Event) -> None:
        """Read one more event."""
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _fault([], "there is more than one document")
            case AliasEvent():
                self._alias(event.anchor)
            case ScalarEvent():
                self._refuse_tag(event)
                self._add(self._scalar(event), 1, event.anchor)
            case MappingStartEvent() | SequenceStartEvent():
                self._refuse_tag(event)
                self._begin({} if isinstance(event, MappingStartEvent) else [], event.anchor)
            case CollectionEndEvent():
                frame = self._stack.pop()
                self._add(frame.items, frame.nodes, frame.anchor)
            case _:
                pass

    def _begin(self, items: dict[str, Any] | list[Any], anchor: str | None) -> None:
        if self._stack and self._expects_key():
            raise _fault(self.path(), "a key has to be text")
        if len(self._stack) >= self._most_depth:
            raise _fault(self.path(), f"nested more than {self._most_depth} deep")
        self._stack.append(_Frame(items, anchor, 1))

    def _expects_key(self) -> bool:
        frame = self._stack[-1]
        return isinstance(frame.items, dict) and frame.key is None

    def _alias(self, name: str | None) -> None:
        if name is None or name not in self._anchors:
            raise _fault(self.path(), f"the alias {(name or '')[:100]!r} names nothing that is complete")
        value, nodes = self._anchors[name]
        self._add(value, nodes, None)

    def _add(self, value: Any, nodes: int, anchor: str | None) -> None:  # noqa: ANN401 - any JSON
        if anchor:
            self._anchors[anchor] = (value, nodes)
        if not self._stack:
            self.root = value
            return
        frame = self._stack[-1]
        frame.nodes += nodes
        if frame.nodes > self._most_nodes:
            raise _fault(self.path(), f"more than {self._most_nodes} nodes")
        if isinstance(frame.items, list):
            frame.items.append(value)
        elif frame.key is None:
            frame.key = self._key(value, frame.items)
        else:
            frame.items[frame.key] = value
            frame.key = None

    def _key(self, value: Hashable, items: dict[str, Any]) -> str:
        if not isinstance(value, str):
            raise _fault(self.path(), f"the key {value!r} has to be text; put it in quotes")
        if value in items:
            raise _fault(self.path(), f"the key {value[:100]!r} stands twice in one object")
        return value

    def _refuse_tag(self, event: NodeEvent) -> None:
        tag = cast("str | None", getattr(event, "tag", None))
        if tag is not None:
            raise _fault(self.path(), f"the tag {tag[:100]!r} is not allowed; write plain data")

    def _scalar(self, event: ScalarEvent) -> Any:  # noqa: ANN401 - any scalar
        text = event.value
        if event.style not in (None, ""):
            return text
        if _NULL.match(text):
            return None
        if _BOOL.match(text):
            return text.lower() == "true"
        if (whole := _INT.match(text)) or _FLOAT.match(text):
            if len(text) > 40:  # noqa: PLR2004 - longer than any number of 64 bits is written
                raise _fault(self.path(), "the number is too long; write it as text")
            return _number(int(text) if whole else float(text), self.path())
        return text


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Add what only `read` takes for a number, so that such a text is written in quotes."""
    known: dict[str, list[tuple[str, re.Pattern[str]]]] = yaml.SafeDumper.yaml_implicit_resolvers
    ours = [("tag:yaml.org,2002:int", _INT), ("tag:yaml.org,2002:float", _FLOAT)]
    return {first: [*known.get(first, []), *ours] for first in {*known, *"-+.0123456789"}}


class _Writer(yaml.SafeDumper):
    """Writes readable YAML that `read` and any YAML 1.1 reader take for the same data."""

    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - whatever it is
        """Write everything out."""
        return True


def _write_text(_writer: _Writer, value: str) -> yaml.ScalarNode:
    style = '"' if _UNUSUAL.search(value) else "|" if "\n" in value else None
    return yaml.ScalarNode("tag:yaml.org,2002:str", value, style=style)


_Writer.add_representer(str, _write_text)


def write_yaml(document: object) -> str:
    """Write JSON data as YAML; `read` gives the same data back."""
    return yaml.dump(document, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=110)


def write_json(document: object) -> str:
    """Write JSON data as indented JSON with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
