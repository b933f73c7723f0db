"""Known values are found in every form, in whole texts and however a stream is cut (S175, abuse 68)."""

import base64
import json
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_factory.kit.spellings import MASK, SHORTEST, Spellings, forms

VALUE = "pässwort/9f8e+7d6c=5b4a"
RAW = VALUE.encode()
WAYS = {
    "as it is": VALUE,
    "in a URL": quote(VALUE, safe=""),
    "in a URL, in small letters": quote(VALUE, safe="").lower(),
    "in JSON": json.dumps(VALUE, ensure_ascii=False)[1:-1],
    "in JSON of ASCII alone": json.dumps(VALUE)[1:-1],
    "in JSON with its slashes escaped": json.dumps(VALUE)[1:-1].replace("/", "\\/"),
    "in hex": RAW.hex(),
    "in capital hex": RAW.hex().upper(),
    "in Base64": base64.b64encode(RAW).decode(),
    "in Base64 for URLs": base64.urlsafe_b64encode(RAW).decode().rstrip("="),
}
AROUND = ("", "u:", "user:", "x", "a longer beginning that has nothing to do with it ")


def known(*values: str) -> Spellings:
    return Spellings(form for value in values for form in forms(value))


def streamed(spellings: Spellings, pieces: Iterable[str]) -> str:
    masking = spellings.stream()
    return "".join([*map(masking.feed, pieces), masking.feed("", last=True)])


def cut(text: str, places: Iterable[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(bounds)]


@pytest.mark.parametrize("written", WAYS.values(), ids=WAYS.keys())
def test_a_value_is_masked_in_every_form_and_at_every_cut_of_a_stream(written: str) -> None:
    text = f"it says {written} here"
    wanted = f"it says {MASK} here"
    spellings = known(VALUE)
    assert spellings.mask(text) == wanted
    assert streamed(spellings, text) == wanted, "a character at a time"
    for place in range(len(text)):
        assert streamed(spellings, [text[:place], text[place:]]) == wanted


@pytest.mark.parametrize("before", AROUND)
@pytest.mark.parametrize("after", ["", "\n", ":more", " and more"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_value_is_found_inside_of_what_was_encoded_as_a_whole(
    before: str, after: str, encode: Callable[[bytes], bytes]
) -> None:
    """`echo secret | base64` has a line break more, and Basic credentials a name before."""
    written = encode(f"{before}{VALUE}{after}".encode()).decode()
    masked = known(VALUE).mask(written)
    assert MASK in masked
    kept = masked.split(MASK)
    assert sum(map(len, kept)) <= len(encode(f"{before}{after}".encode())) + 8, "of the value, nothing but the edges"
    assert streamed(known(VALUE), written) == masked


def test_a_value_that_is_part_of_another_does_not_leave_the_rest_of_that_one() -> None:
    assert known("canary-one", "canary-one-and-its-long-rest").mask("x canary-one-and-its-long-rest y") == f"x {MASK} y"
    assert known("long-rest-of", "canary-long-rest-of-it").mask("x canary-long-rest-of-it y") == f"x {MASK} y"


def test_values_that_overlap_are_masked_as_one() -> None:
    text = "abcdefgh12ijklmnop"
    assert known("abcdefgh12", "12ijklmnop").mask(text) == MASK
    assert streamed(known("abcdefgh12", "12ijklmnop"), text) == MASK
    assert known("aQWERTYUIOa").mask("aQWERTYUIOaQWERTYUIOa") == MASK, "it overlaps itself"


letters = st.text(alphabet="aab%2=\\u0 ", min_size=SHORTEST, max_size=12)


@given(st.lists(letters, min_size=1, max_size=4), st.data())
@example(["aaaaaa"], None)
def test_a_stream_is_masked_as_the_whole_text_is_wherever_it_is_cut(
    values: list[str], data: st.DataObject | None
) -> None:
    spellings = known(*values)
    if data is None:
        text, places = "a" * 20, [7, 8]
    else:
        parts = st.one_of(letters, st.sampled_from([form for value in values for form in forms(value)]))
        text = "".join(data.draw(st.lists(parts, max_size=6)))
        places = data.draw(st.lists(st.integers(0, 200), max_size=8))
    assert streamed(spellings, cut(text, places)) == spellings.mask(text)


@given(st.lists(letters, min_size=1, max_size=4), st.text(alphabet="aab%2=\\u0 ", max_size=60))
def test_nothing_of_any_occurrence_is_shown(values: list[str], text: str) -> None:
    every = [form for value in values for form in forms(value)]
    hidden = {
        place
        for form in every
        for start in range(len(text))
        if text.startswith(form, start)
        for place in range(start, start + len(form))
    }
    shown = "".join(character for place, character in enumerate(text) if place not in hidden)
    assert known(*values).mask(text).replace(MASK, "") == shown


def test_no_more_is_kept_back_than_could_still_become_a_value() -> None:
    masking = known("secret-value-1234").stream()
    assert masking.feed("nothing of it ") == "nothing of it "
    assert masking.feed("the sec") == "the "
    assert masking.feed("ond") == "second"
    assert masking.feed("secret-value-123") == ""
    assert masking.feed("!") == "secret-value-123!"
    assert masking.feed("secret-value-1234") == MASK


@pytest.mark.parametrize("length", range(1, len(VALUE) + 1))
def test_of_a_text_that_was_cut_in_the_midst_of_a_value_nothing_that_says_something_is_left(length: int) -> None:
    shown = known(VALUE).mask_cut(f"the header was {VALUE[:length]}")
    assert shown == f"the header was {MASK if length >= SHORTEST else VALUE[:length]}"


def test_a_stream_that_ends_in_the_middle_of_a_value_is_given_whole() -> None:
    assert streamed(known("secret-value-1234"), ["it was secret-val"]) == "it was secret-val"


@pytest.mark.parametrize("value", ["a" * 16_000, "ab" * 8_000, "a" * 15_999 + "b", "b" + "a" * 15_999])
def test_no_value_and_no_text_make_masking_slow(value: str) -> None:
    """Both are an organisation's own, but the process is everybody's."""
    spellings = known(value)
    started = time.process_time()
    text = "a" * 200_000
    spellings.mask(text)
    streamed(spellings, [text[place : place + 50] for place in range(0, len(text), 50)])
    assert time.process_time() - started < 2
