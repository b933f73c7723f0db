"""Server-sent events: frames, heartbeats, and one write for all that a slow reader has missed."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent_factory.kit.errors import Unavailable

HEARTBEAT = b": heartbeat\n\n"
HEARTBEAT_SECONDS = 15.0
BELIEVED_SECONDS = 5.0
"""For how long a reader is let go on before his credential is looked at again."""
EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
"""One event, as the OpenAPI document describes it."""
_MOST_PENDING = 262_144
"""Bytes that wait for a reader before the source has to wait as well."""


def frame(data: bytes, *, event: str | None = None, id: str | None = None) -> bytes:  # noqa: A002 - the field's name
    """Write one event. `data` is a single line (JSON is); `id` is what a reader resumes after."""
    head = b""
    if id is not None:
        head = b"id: " + id.encode() + b"\n"
    if event is not None:
        head += b"event: " + event.encode() + b"\n"
    return head + b"data: " + data + b"\n\n"


def last_event_id(connection: HTTPConnection) -> str | None:
    """Give the id after which the reader wants to resume, if it names one."""
    return connection.headers.get("last-event-id") or None


async def chunks(source: AsyncIterable[bytes], *, heartbeat: float = HEARTBEAT_SECONDS) -> AsyncGenerator[bytes, None]:
    """Give the frames of `source`, all that are ready in one piece, and a comment when `heartbeat` seconds were still.

    What `source` raises is raised here, after the frames before it.
    """
    pending: list[bytes] = []
    arrived, taken = asyncio.Event(), asyncio.Event()

    async def fill() -> None:
        size = 0
        async for piece in source:
            if not pending:
                size = 0
            pending.append(piece)
            size += len(piece)
            arrived.set()
            if size > _MOST_PENDING:
                taken.clear()
                await taken.wait()

    filling = asyncio.create_task(fill())
    filling.add_done_callback(lambda _: arrived.set())
    try:
        while not filling.done() or pending:
            try:
                async with asyncio.timeout(heartbeat):
                    await arrived.wait()
            except TimeoutError:
                yield HEARTBEAT
                continue
            arrived.clear()
            ready = b"".join(pending)
            pending.clear()
            taken.set()
            if ready:
                yield ready
        filling.result()
    finally:
        filling.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await filling


class EventStream(Response):
    """An answer of server-sent events that ends when its source does or the reader leaves."""

    media_type = "text/event-stream"

    def __init__(
        self,
        source: AsyncIterable[bytes],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        super().__init__(None, status_code, {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})})
        del self.headers["content-length"]
        self.source = source
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames, for as long as the reader's credential is good; closes the source in every case."""
        writing = asyncio.ensure_future(self._write(send))
        shut_out = asyncio.ensure_future(_shut_out(scope))
        ends = (writing, asyncio.ensure_future(_gone(receive)), shut_out)
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if writing in done:
                writing.result()
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        if done == {shut_out}:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with contextlib.aclosing(chunks(self.source, heartbeat=self._heartbeat)) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _shut_out(scope: Scope) -> None:
    """Wait until the caller's key was revoked, his session ended, or he was disabled; for ever where nobody is known.

    An access token that is merely old ends nothing: its session goes on.
    """
    actor = scope.get("state", {}).get("actor")
    if actor is None:
        await asyncio.Event().wait()
    while True:
        await asyncio.sleep(BELIEVED_SECONDS)
        try:
            if not await scope["app"].state.still_good(actor):
                return
        except Unavailable:
            continue  # nobody can say now; he is asked for again


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
