"""Streams made by hand, fed to a decoder in one piece or cut anywhere."""

import json
from typing import Any

from agent_factory.core.model import Done, ModelEvent, ModelResponse
from agent_factory.providers.wire.provider import Decoder, Wire


def sse(*documents: dict[str, Any] | str) -> bytes:
    """Write documents as a stream; a text is written as it is."""
    lines = [d if isinstance(d, str) else json.dumps(d, ensure_ascii=False) for d in documents]
    return b"".join(b"data: " + line.encode() + b"\n\n" for line in lines)


def read(decoder: Decoder, stream: bytes, size: int = 1_000_000) -> list[ModelEvent]:
    """Feed a stream in pieces of `size` bytes and give all events."""
    events: list[ModelEvent] = []
    for start in range(0, len(stream), size):
        events += decoder.feed(stream[start : start + size])
        if decoder.done:
            return events
    return events + decoder.finish()


def answer(wire: Wire, stream: bytes, size: int = 1_000_000) -> ModelResponse:
    """Give the response at the end of a stream."""
    last = read(wire.decoder(), stream, size)[-1]
    assert isinstance(last, Done)
    return last.response
