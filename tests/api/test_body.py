"""What a JSON body may hold, on each of its sides."""

import json
import time
from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.api.body import DEEPEST, check_json
from agent_factory.api.problems import Malformed

BROKEN = {
    "nothing closed": b'{"a": 1',
    "a comma too many": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "two documents": b"{} {}",
    "not a number": b'{"a": NaN}',
    "infinity": b'{"a": [Infinity]}',
    "minus infinity": b'{"a": -Infinity}',
    "a number beyond a double": b'{"a": 1e999}',
    "a number beyond 64 bits": b'{"a": 9223372036854775808}',
    "a negative one": b'{"a": -9223372036854775809}',
    "a huge one": b'{"a": ' + b"9" * 5000 + b"}",
    "invalid utf-8": b'{"a": "\xff"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a nul character": b'{"a": "x\\u0000y"}',
    "a nul character in a name": b'{"\\u0000": 1}',
    "deep lists": b"[" * 70 + b"]" * 70,
    "deep objects": b'{"a":' * 70 + b"1" + b"}" * 70,
    "very deep lists": b"[" * 100_000,
}

SOUND = {
    "an escaped backslash before u0000": b'{"a": "\\\\u0000"}',
    "the largest integer": b'{"a": 9223372036854775807}',
    "the smallest integer": b'{"a": -9223372036854775808}',
    "a long fraction": b'{"a": 0.1234567890123456789012345}',
    "digits in a string": b'{"a": "12345678901234567890123"}',
    "brackets in a string": b'{"a": "' + b"[" * 500 + b'"}',
    "brackets after an escaped quote": b'{"a": "\\"' + b"{" * 500 + b'"}',
    "many shallow lists": b"[" + b"[]," * 500 + b"[]]",
    "as deep as allowed": b"[" * DEEPEST + b"]" * DEEPEST,
    "a pair of surrogates": b'{"a": "\\ud83d\\ude00"}',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_what_no_part_further_in_can_hold_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        check_json(body)


@pytest.mark.parametrize("body", SOUND.values(), ids=SOUND.keys())
def test_what_only_looks_broken_passes(body: bytes) -> None:
    check_json(body)


MOST = 1_048_576


def filled(head: bytes, unit: bytes, tail: bytes) -> bytes:
    return head + unit * ((MOST - len(head) - len(tail)) // len(unit)) + tail


@pytest.mark.parametrize(
    "body",
    [
        filled(b"[" * 70 + b'"', b'\\"', b""),
        filled(b"[" * 70 + b'"', b'\\"', b'"' + b"]" * 70),
        filled(b"[", b"[],", b"1]"),
        filled(b"[", b'{"a":[]},', b"1]"),
        filled(b"[", b"[" * 63 + b"]" * 63 + b",", b"1]"),
        filled(b"[", b'"[",', b"1]"),
        filled(b'["', b"\\\\", b'"]'),
        filled(b'["', b"\\\\u0000", b'"]'),
        filled(b"[", b"123456789012345678,", b"1]"),
        filled(b"[0.", b"1", b"]"),
        filled(b"", b"[", b""),
    ],
    ids=["open string", "escaped quotes", "lists", "objects", "towers", "strings", "backslashes", "almost nul",
         "digits", "fraction", "open lists"],
)  # fmt: skip
def test_no_body_takes_long_to_check(body: bytes) -> None:
    """Abuse 50 for bodies: whoever sends one is not known yet, and everybody else waits meanwhile."""
    began = time.process_time()
    with suppress(orjson.JSONDecodeError):
        orjson.loads(body)
    read = time.process_time()
    with suppress(Malformed):
        check_json(body)
    assert time.process_time() - read < 1 + 10 * (read - began)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0", codec="utf-8")), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(json_values)
def test_every_document_that_can_be_held_passes(value: object) -> None:
    check_json(json.dumps(value).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_sound_or_malformed_and_nothing_else(body: bytes) -> None:
    try:
        check_json(body)
    except Malformed:
        return
    json.loads(body)
