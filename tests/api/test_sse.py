"""Server-sent events: frames, heartbeats, slow and leaving readers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from starlette.types import Message

from agent_factory.api.sse import HEARTBEAT, EventStream, chunks, frame


def test_a_frame_has_id_event_and_data() -> None:
    assert frame(b"{}", event="run.completed", id="7") == b"id: 7\nevent: run.completed\ndata: {}\n\n"
    assert frame(b"[DONE]") == b"data: [DONE]\n\n"


async def test_what_a_slow_reader_missed_comes_in_one_piece() -> None:
    written = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        for n in range(5):
            yield b"%d" % n
        written.set()

    async with aclosing(chunks(source())) as pieces:
        first = await anext(pieces)
        await written.wait()
        rest = [piece async for piece in pieces]
    assert first + b"".join(rest) == b"01234"
    assert len(rest) <= 1


async def test_silence_is_filled_with_heartbeats_and_loses_nothing() -> None:
    go_on = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        yield b"a"
        await go_on.wait()
        yield b"b"

    seen: list[bytes] = []
    async with aclosing(chunks(source(), heartbeat=0.01)) as pieces:
        async for piece in pieces:
            seen.append(piece)
            if seen.count(HEARTBEAT) == 3:
                go_on.set()
    assert seen[0] == b"a"
    assert seen[-1] == b"b"
    assert seen.count(HEARTBEAT) >= 3


async def test_what_the_source_raises_comes_after_the_frames_before_it() -> None:
    async def source() -> AsyncGenerator[bytes, None]:
        yield b"a"
        raise RuntimeError("broken")

    async with aclosing(chunks(source())) as pieces:
        assert await anext(pieces) == b"a"
        with pytest.raises(RuntimeError, match="broken"):
            await anext(pieces)


async def test_a_reader_who_leaves_closes_the_source() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with aclosing(chunks(source())) as pieces:
        await anext(pieces)
    assert closed.is_set()


async def test_a_source_waits_for_a_reader_who_takes_nothing() -> None:
    given = 0
    stuck = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        nonlocal given
        while True:
            given += 1
            if given == 20:
                stuck.set()
            yield b"x" * 100_000

    async with aclosing(chunks(source())) as pieces:
        await anext(pieces)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not stuck.is_set()


async def test_the_answer_ends_when_its_reader_disconnects() -> None:
    sent: list[Message] = []
    begun, closed = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def receive() -> Message:
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body") == b"a":
            begun.set()

    await EventStream(source())({"type": "http"}, receive, send)
    assert closed.is_set()
    assert sent[0]["type"] == "http.response.start"
    assert (b"content-type", b"text/event-stream; charset=utf-8") in sent[0]["headers"]
    assert sent[-1]["body"] == b"a"
