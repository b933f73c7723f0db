"""YAML and JSON that strangers wrote (S105)."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.core import document
from agent_factory.kit.errors import Invalid

keys = st.text(max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40)
    | st.sampled_from(
        ["on", "no", "NULL", "~", "1e5", "0123", "0x1f", "1_000", "12:30:45", "2024-01-05", ".inf", "=", "<<"]
    )
    | st.sampled_from(
        ["a: b", "- x", "# c", "x #y", "'q'", '"q"', "line\nline\n", " lead", "trail ", "\t", "&a", "*a", "!t"]
    )
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


def refusal(text: str) -> tuple[str, str]:
    with pytest.raises(Invalid) as refused:
        document.read(text)
    (fault,) = refused.value.errors
    return fault.pointer, fault.detail


@settings(max_examples=500, deadline=None)
@given(values)
def test_yaml_brings_every_document_back_as_it_was(value: Any) -> None:
    assert repr(document.read(document.write_yaml(value))) == repr(value)


@settings(deadline=None)
@given(st.lists(values) | st.dictionaries(keys, values))
def test_json_brings_every_document_back_as_it_was(value: Any) -> None:
    assert document.read(document.write_json(value)) == value


@settings(deadline=None)
@given(st.dictionaries(keys, st.text(max_size=40)))
def test_other_yaml_readers_take_our_text_for_the_same_words(value: Any) -> None:
    assert yaml.safe_load(document.write_yaml(value)) == value


def test_words_that_yaml_1_1_took_for_something_else_are_words() -> None:
    text = "on: [yes, no, off, 12:30:45, 2024-01-05, 0123, 0x1f, 1_000, .inf, .nan]"
    assert document.read(text) == {
        "on": ["yes", "no", "off", "12:30:45", "2024-01-05", "0123", "0x1f", "1_000", ".inf", ".nan"]
    }


def test_plain_values_are_what_they_look_like() -> None:
    assert document.read("[true, False, null, ~, 1, -2, 1.5, 1e3, .5, '1', \"true\", '']") == [
        *(True, False, None, None, 1, -2, 1.5, 1000.0, 0.5, "1", "true", "")
    ]


def test_an_empty_text_is_nothing() -> None:
    assert document.read("") is None
    assert document.read("# only a comment\n") is None


def test_aliases_repeat_what_they_name() -> None:
    assert document.read("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}


def test_a_billion_laughs_are_refused_before_they_are_written_out() -> None:
    lines = ["l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "more than 200000 nodes" in refusal("\n".join(lines))[1]


@pytest.mark.parametrize(
    ("text", "pointer", "detail"),
    [
        ("a: 1\na: 2", "", "the key 'a' stands twice in one object"),
        ("x: [{a: 1, a: 2}]", "/x/0", "the key 'a' stands twice in one object"),
        ('{"x": {"a": 1, "a": 2}}', "", "the key 'a' stands twice in one object"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "/a",
            "the tag 'tag:yaml.org,2002:python/object/apply:os.system' is",
        ),
        ("a: !!str 1", "/a", "the tag"),
        ("!!set {a, b}", "", "the tag"),
        ("a: &a [*a]", "/a/0", "the alias 'a' names nothing that is complete"),
        ("a: *b", "/a", "the alias 'b' names nothing that is complete"),
        ("1: x", "", "the key 1 has to be text; put it in quotes"),
        ("null: x", "", "the key None has to be text; put it in quotes"),
        ("[a]: x", "", "a key has to be text"),
        ("a: 1\n---\nb: 2", "", "there is more than one document"),
        ("a: [1, 2", "/a/2", "line 2: did not find expected"),
        ("a: 99999999999999999999", "/a", "the number does not fit 64 bits"),
        ('{"a": 99999999999999999999}', "/a", "the number does not fit 64 bits"),
        ("a: 1e999", "/a", "the number is too large"),
        ('{"a": 1e999}', "/a", "the number is too large"),
        ('{"a": NaN}', "", "NaN is not a JSON number"),
        ("a: " + "9" * 5_000, "/a", "the number is too long"),
        ('{"a": ' + "9" * 5_000 + "}", "", "a number is too large"),
        ("a: \x00", "", "the text holds characters that YAML does not allow"),
        ("a: \ud800", "", "the text holds characters that YAML does not allow"),
        ("%YAML 9.9\n---\na", "", "line"),
    ],
)
def test_a_faulty_document_is_refused_at_its_place(text: str, pointer: str, detail: str) -> None:
    where, what = refusal(text)
    assert where == pointer
    assert detail in what


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 65 + "]" * 65, "{a: " * 100_000, "- " * 5_000 + "x", '[{"a":' * 9_999]
)
def test_deep_nesting_is_refused(text: str) -> None:
    assert "deep" in refusal(text)[1]


def test_a_giant_text_is_refused_unread() -> None:
    assert "longer than 2000000 characters" in refusal("x" * 2_000_001)[1]


@settings(deadline=None)
@given(st.text("{}[]:,&*!|>'\"%@`#-? \n\tab01~.", max_size=60))
def test_any_text_is_read_or_refused_and_what_was_read_is_json(text: str) -> None:
    try:
        found = document.read(text)
    except Invalid:
        return
    json.dumps(found, allow_nan=False)
