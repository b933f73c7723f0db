"""JSON Schemas, and what JSON can carry (S76, S77)."""

import math
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.schema import MAX_DEPTH, Schema, json_faults, parse, pointer
from agent_factory.kit.errors import Invalid


class Point(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    x: int
    labels: dict[str, int] = {}
    even: int = 0

    @pydantic.field_validator("even")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("is odd")
        return value


def test_a_pointer_escapes_what_rfc_6901_says() -> None:
    assert pointer([]) == ""
    assert pointer(["a/b", "c~d", 0, ""]) == "/a~1b/c~0d/0/"


def test_every_fault_is_named_at_its_place() -> None:
    schema = Schema({"properties": {"a": {"type": "integer"}, "b": {"items": {"minimum": 3}}}, "required": ["c"]})
    faults = schema.faults({"a": "x", "b": [5, 1]})
    assert sorted(f.pointer for f in faults) == ["", "/a", "/b/1"]
    assert schema.accepts({"a": 1, "b": [3], "c": None})
    assert not schema.accepts({})


def test_faults_are_at_most_fifty_and_each_is_short() -> None:
    faults = Schema({"items": {"type": "string"}}).faults([["x" * 10_000]] * 1_000)
    assert len(faults) == 50
    assert all(len(f.detail) <= 500 for f in faults)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "thing"},
        {"properties": []},
        {"pattern": "("},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/$defs/none"},
    ],
)
def test_a_broken_schema_is_refused_and_nothing_is_fetched(schema: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        Schema(schema, at="/output")
    assert [f.pointer for f in refused.value.errors] == ["/output"]


@pytest.mark.timeout(10)
def test_a_pattern_of_a_stranger_runs_in_linear_time() -> None:
    assert not Schema({"pattern": "^(a+)+$"}).accepts("a" * 50_000 + "b")


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"a": [1, math.nan]}, "/a/1"),
        ({"a": math.inf}, "/a"),
        ({"a": "\ud800"}, "/a"),
        ({"\ud800": 1}, ""),
        ({1: 2}, ""),
        ({"a": {1, 2}}, "/a"),
        ({"a": b"x"}, "/a"),
    ],
)
def test_what_json_cannot_carry_is_found(document: object, place: str) -> None:
    assert [f.pointer for f in json_faults(document)] == [place]


def test_nesting_is_limited_without_recursion() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    (fault,) = json_faults(deep)
    assert fault.pointer == "/0" * MAX_DEPTH


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_json_itself_has_no_fault(value: object) -> None:
    assert json_faults(value) == []
    assert Schema({}).accepts(value)


def test_a_model_names_each_fault_once_in_the_words_of_json() -> None:
    with pytest.raises(Invalid) as refused:
        parse(Point, {"labels": {"a": "b", "c": []}, "even": 3, "z": 1}, at="/config")
    assert [(f.pointer, f.detail) for f in refused.value.errors] == [
        ("/config/x", "this field is required"),
        ("/config/labels/a", "Input should be a valid integer, unable to parse string as an integer"),
        ("/config/labels/c", "Input should be a valid integer"),
        ("/config/even", "is odd"),
        ("/config/z", "unknown field"),
    ]
    assert parse(Point, {"x": 1}).x == 1
