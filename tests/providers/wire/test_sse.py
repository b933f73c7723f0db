"""Server-sent events survive any cut of their bytes."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.model import ModelProtocolError
from agent_factory.providers.wire.sse import Parser

Event = tuple[str, bytes]

LINES = st.one_of(
    st.sampled_from(
        [b"", b"", b"data: [DONE]", b"data", b"data:", b"data: ", b"event: ping", b"event:x", b": comment", b"id: 7"]
    ),
    st.binary(max_size=12).map(lambda b: b"data: " + re.sub(rb"[\r\n]", b".", b)),
    st.text(alphabet="äβ\u2028 {}\"'", max_size=8).map(lambda t: b"data:" + t.encode()),
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.tuples(st.sampled_from([b"", b"\xef\xbb\xbf"]), st.lists(st.tuples(LINES, ENDS), max_size=20)).map(
    lambda made: made[0] + b"".join(line + end for line, end in made[1])
)


def reference(stream: bytes) -> list[Event]:
    """Read a whole stream as the standard says, and an event that its end completes."""
    events: list[Event] = []
    name, data = "", list[bytes]()
    for line in [*re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf")), b""]:
        field, colon, value = line.partition(b":")
        if not line:
            events += [(name, b"\n".join(data))] if data else []
            name, data = "", []
        elif field == b"data":
            data.append(value.removeprefix(b" ") if colon else b"")
        elif field == b"event":
            name = value.removeprefix(b" ").decode()
    return events


def parse(pieces: list[bytes]) -> list[Event]:
    parser = Parser()
    return [e for piece in pieces for e in parser.feed(piece)] + parser.finish()


@given(STREAMS, st.data())
def test_any_cut_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    edges = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    assert parse(pieces) == reference(stream)


@given(STREAMS)
def test_single_bytes_give_the_same_events(stream: bytes) -> None:
    assert parse([stream[i : i + 1] for i in range(len(stream))]) == reference(stream)


def test_events_leave_as_soon_as_they_are_whole() -> None:
    parser = Parser()
    assert parser.feed(b"data: 1\n\ndata: 2\n") == [("", b"1")]
    assert parser.feed(b"\ndata: 3") == [("", b"2")]
    assert parser.finish() == [("", b"3")]


@pytest.mark.parametrize("line", [b"data: " + b"x" * 300, b"x" * 400, b"data: xxxxxxxxxxxxxxxxxxxxxxxxx\n" * 20])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_without_end_is_refused(line: bytes, size: int) -> None:
    parser = Parser(most=200)

    def flood() -> None:
        for start in range(0, len(line), size):
            parser.feed(line[start : start + size])

    with pytest.raises(ModelProtocolError):
        flood()


def test_comments_without_end_cost_nothing() -> None:
    parser = Parser(most=200)
    for _ in range(100):
        assert parser.feed(b": still here, still here\n\n") == []
    assert parser.feed(b"data: x\n\n") == [("", b"x")]
