"""The events of a live run, for those who watch it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.event import ReasoningPiece, TextPiece, ToolStarted, TurnCompleted, TurnEvent
from agent_factory.core.model import Usage
from agent_factory.kit.errors import Invalid
from agent_factory.runtime.hub import EventId, Hub, read_event_id

END = TurnCompleted("done", (), Usage())


async def collect(hub: Hub, after: EventId | None = None) -> list[tuple[EventId, TurnEvent]]:
    return [pair async for pair in hub.events(after)]


def text_of(pairs: list[tuple[EventId, TurnEvent]]) -> str:
    return "".join(e.text for _, e in pairs if isinstance(e, TextPiece))


def filled() -> Hub:
    hub = Hub()
    for word in ("a", "b", "c"):
        hub.delta(TextPiece(word))
    hub.fact(2, ToolStarted("tool/0/0", "1", "look", "{}"))
    for word in ("d", "e"):
        hub.delta(TextPiece(word))
    hub.fact(3, END)
    hub.close()
    return hub


async def test_ids_name_the_facts_so_far_and_the_deltas_since() -> None:
    hub = Hub()
    hub.delta(TextPiece("a"))
    assert str(hub.last) == "1.1"
    hub.fact(2, END)
    assert str(hub.last) == "2.0"
    hub.delta(TextPiece("b"))
    assert str(hub.last) == "2.1"


async def test_a_watcher_resumes_after_any_event_and_misses_nothing() -> None:
    """Whatever the last id that was seen, head and tail together say everything once."""
    hub = filled()
    places = [EventId(1, 0), EventId(1, 1), EventId(1, 2), EventId(1, 3), EventId(2, 0), EventId(2, 1), EventId(2, 2)]
    for seen, words in zip(places, ["abcde", "bcde", "cde", "de", "de", "e", ""], strict=True):
        rest = await collect(hub, seen)
        assert text_of(rest) == words
        assert rest[-1] == (EventId(3, 0), END)
        assert all(at > seen for at, _ in rest)


async def test_two_watchers_see_the_same() -> None:
    hub = Hub()
    both = [asyncio.create_task(collect(hub)) for _ in range(2)]
    for word in ("a", "b", "c"):
        hub.delta(TextPiece(word))
        await asyncio.sleep(0)
    hub.fact(2, END)
    hub.close()
    first, second = await asyncio.gather(*both)
    assert text_of(first) == text_of(second) == "abc"
    assert first[-1] == second[-1] == (EventId(2, 0), END)


async def test_pieces_are_joined_only_for_a_watcher_who_is_behind() -> None:
    hub = Hub()
    for i in range(40):
        hub.delta(TextPiece(str(i % 10)))
    hub.delta(ReasoningPiece("hm"))
    hub.fact(2, END)
    hub.close()
    late = await collect(hub)
    assert [at for at, _ in late] == [EventId(1, 16), EventId(1, 32), EventId(1, 40), EventId(1, 41), EventId(2, 0)]
    assert text_of(late) == "0123456789" * 4


async def test_a_watcher_who_keeps_up_gets_each_piece_by_itself() -> None:
    hub = Hub()
    seen: list[str] = []

    async def watch() -> None:
        async for _, event in hub.events():
            if isinstance(event, TextPiece):
                seen.append(event.text)

    watching = asyncio.create_task(watch())
    for word in ("a", "b", "c"):
        await asyncio.sleep(0)
        hub.delta(TextPiece(word))
        await asyncio.sleep(0)
    hub.close()
    await watching
    assert seen == ["a", "b", "c"]


async def test_memory_is_bounded_and_facts_stay() -> None:
    hub = Hub()
    for _ in range(5000):
        hub.delta(TextPiece("x" * 10))
    hub.fact(2, ToolStarted("tool/0/0", "1", "look", "{}"))
    for _ in range(50_000):
        hub.delta(TextPiece("y" * 1000))
    hub.fact(3, END)
    hub.close()
    assert sum(len(e.text) for e in hub._events if isinstance(e, TextPiece)) <= 4_000_000
    pairs = await collect(hub)
    assert [at for at, _ in pairs if at.minor == 0] == [EventId(2, 0), EventId(3, 0)]
    assert [at for at, _ in pairs] == sorted(at for at, _ in pairs)


async def test_a_fact_that_is_known_already_is_left_out() -> None:
    hub = Hub()
    hub.fact(2, END)
    hub.fact(2, END)
    hub.close()
    assert len(await collect(hub)) == 1


async def test_a_watcher_who_leaves_disturbs_nobody() -> None:
    hub = Hub()
    leaving = asyncio.create_task(collect(hub))
    staying = asyncio.create_task(collect(hub))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    hub.delta(TextPiece("a"))
    hub.fact(2, END)
    hub.close()
    assert len(await staying) == 2


@pytest.mark.parametrize(
    "text", ["1", "a.b", "1.2.3", ".1", "1.", "-1.2", "1.-2", "9" * 30 + ".1", "\u0661.1", "1.0\n"]
)
def test_an_id_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        read_event_id(text)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_id_is_read_as_it_was_written(major: int, minor: int) -> None:
    assert read_event_id(str(EventId(major, minor))) == EventId(major, minor)


def test_no_id_means_from_the_start() -> None:
    assert read_event_id(None) is None
    assert read_event_id("") is None
