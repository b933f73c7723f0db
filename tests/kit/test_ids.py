"""Ids: prefixed, sortable, one text for each."""

import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.kit.errors import Kind, NotFound
from agent_factory.kit.ids import decode, encode, uuid7

uuids = st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number))


@given(uuids)
def test_an_id_comes_back_as_it_was(value: UUID) -> None:
    text = encode("agt", value)
    assert decode("agt", text) == value
    assert decode("agt", text[:4] + text[4:].upper()) == value
    assert len(text) == 30
    assert text == text.lower()


@given(uuids, uuids)
def test_ids_sort_as_their_values_do(a: UUID, b: UUID) -> None:
    assert (encode("run", a) < encode("run", b)) == (a < b)


def test_a_new_id_is_a_uuid_of_version_7_with_the_present_time() -> None:
    before = time.time_ns() // 1_000_000
    value = uuid7()
    after = time.time_ns() // 1_000_000
    assert value.version == 7
    assert value.variant == "specified in RFC 4122"
    assert before <= value.int >> 80 <= after


def test_later_ids_sort_after_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = iter(range(1_700_000_000_000_000_000, 1_700_000_001_000_000_000, 1_000_000))
    monkeypatch.setattr(time, "time_ns", lambda: next(stamps))
    made = [encode("run", uuid7()) for _ in range(1_000)]
    assert made == sorted(made)


def test_ids_made_together_differ() -> None:
    assert len({uuid7() for _ in range(10_000)}) == 10_000


GOOD = encode("agt", UUID(int=5))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "agt",
        "agt_",
        GOOD.replace("agt", "run"),  # of another kind
        GOOD.replace("agt", "AGT"),
        GOOD[4:],
        GOOD[:-1],
        GOOD + "0",
        GOOD[:-1] + "u",  # no letter of the alphabet
        GOOD[:-1] + "\u0663",  # a digit, but not of ours
        GOOD[:-1] + " ",
        "agt_8" + "0" * 25,  # 2 to the power of 128
        "agt_" + "z" * 26,
        str(UUID(int=5)),
        "agt_' OR 1=1--",
        "agt_" + "0" * 1_000_000,
    ],
)
def test_what_cannot_be_an_id_of_the_kind_is_not_found(text: str) -> None:
    with pytest.raises(NotFound, match="begin with agt_") as refused:
        decode("agt", text)
    assert refused.value.kind is Kind.NOT_FOUND
