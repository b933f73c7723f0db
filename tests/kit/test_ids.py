"""Ids: prefixed, sortable, one text for each."""

import threading
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


def test_ids_sort_in_the_order_in_which_they_were_made() -> None:
    """Runs that one process queues within a millisecond go in their order."""
    made = [uuid7() for _ in range(10_000)]
    assert made == sorted(made)


def test_ids_of_several_threads_are_all_in_order_and_differ() -> None:
    made: list[list[UUID]] = [[] for _ in range(4)]

    def make(into: list[UUID]) -> None:
        into += [uuid7() for _ in range(2_000)]

    threads = [threading.Thread(target=make, args=(each,)) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each == sorted(each) for each in made)
    assert len({value.int >> 64 for each in made for value in each}) == 8_000


def test_ids_of_one_moment_go_on_counting_and_a_clock_that_is_set_back_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [uuid7().int // 2**80 * 1_000_000 + 10**12]
    monkeypatch.setattr(time, "time_ns", lambda: clock[0])
    same = [uuid7() for _ in range(5_000)]
    clock[0] -= 900 * 1_000_000
    slightly = uuid7()
    clock[0] -= 3600 * 10**9
    back = uuid7()
    assert [*same, slightly] == sorted([*same, slightly])
    assert back.int >> 80 == clock[0] // 1_000_000


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
