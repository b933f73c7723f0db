"""A model provider over HTTP: one wire format, one endpoint, no retries."""

from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import orjson

from agent_factory.core.message import Reasoning, Text, ToolCall
from agent_factory.core.model import (
    Done,
    ModelError,
    ModelEvent,
    ModelInfo,
    ModelProtocolError,
    ModelRequest,
    ModelResponse,
    Pricing,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from agent_factory.kit.errors import Problem
from agent_factory.providers import Access
from agent_factory.providers.wire.failures import failure, no_answer
from agent_factory.security.egress import Egress, StreamAnswer

_MOST = 64_000_000
"""Bytes of one answer; a model that streams more is out of order."""
_MOST_IDS = 10_000
_LIST_SECONDS = 15


class Decoder(Protocol):
    """Turns the bytes of one streamed answer into events."""

    done: bool
    begun: bool
    """Whether anything of an answer has come, also of what was dropped with an error."""

    def feed(self, chunk: bytes) -> list[ModelEvent]:
        """Take more bytes; a `Done` is the last event of all.

        Events that came in the same bytes as an error are dropped with it:
        nothing of them was shown, so the call may still be made again.
        """
        ...

    def finish(self) -> list[ModelEvent]:
        """Take the end of the stream; a cut one is `ModelProtocolError`."""
        ...


class Wire(Protocol):
    """One wire format, as one provider speaks it."""

    path: str

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Give the headers of every request."""
        ...

    def encode(self, request: ModelRequest, *, stream: bool) -> bytes:
        """Write the request's body."""
        ...

    def decode(self, body: bytes) -> ModelResponse:
        """Read a whole answer; a malformed one is `ModelProtocolError`."""
        ...

    def decoder(self) -> Decoder:
        """Begin to read a streamed answer."""
        ...


class WireProvider:
    """Answers model calls over one wire at one endpoint."""

    def __init__(
        self,
        access: Access,
        egress: Egress,
        wire: Wire,
        *,
        listed: Callable[[str], bool] | None = None,
    ) -> None:
        """Keep the address and the key; `listed` chooses which of the vendor's models are shown."""
        self.name = access.name
        self._window = access.context_window
        self._base = access.url.rstrip("/")
        self._egress = egress.trusting(_authority(self._base)) if access.trusted else egress
        self._wire = wire
        self._headers = wire.headers(access.api_key) | {"Content-Type": "application/json"}
        self._listed = listed

    async def inference(self, request: ModelRequest) -> ModelResponse:
        """Answer in one piece."""
        try:
            answer = await self._egress.request(
                "POST",
                self._base + self._wire.path,
                headers=self._headers,
                body=self._wire.encode(request, stream=False),
                timeout=request.timeout,
                max_bytes=_MOST,
            )
        except Problem as error:
            raise told(self.name, error) from error
        if answer.status != 200:  # noqa: PLR2004 - HTTP
            raise failure(self.name, answer.status, answer.headers, answer.body)
        return self._wire.decode(answer.body)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer in pieces; the last event, and only the last, is `Done`."""
        body = self._wire.encode(request, stream=True)
        try:
            async with self._egress.stream(
                "POST",
                self._base + self._wire.path,
                headers=self._headers,
                body=body,
                timeout=request.timeout,
                max_bytes=_MOST,
            ) as answer:
                if answer.status != 200:  # noqa: PLR2004 - HTTP
                    raise failure(self.name, answer.status, answer.headers, await answer.read())
                if "json" in answer.headers.get("content-type", ""):
                    for event in whole(self._wire.decode(await answer.read())):
                        yield event
                    return
                async for event in self._events(answer):
                    yield event
                await answer.settle()
        except Problem as error:
            raise told(self.name, error) from error

    async def _events(self, answer: StreamAnswer) -> AsyncGenerator[ModelEvent, None]:
        decoder = self._wire.decoder()
        try:
            async for chunk in answer.chunks():
                for event in decoder.feed(chunk):
                    yield event
                if decoder.done:
                    return
            for event in decoder.finish():
                yield event
        except ModelError as error:
            error.begun = decoder.begun
            raise

    async def get_available_models(self) -> list[ModelInfo]:
        """List what `/models` names; empty where the server has no such list."""
        headers = {k: v for k, v in self._headers.items() if k != "Content-Type"}
        try:
            answer = await self._egress.request(
                "GET", self._base + "/models", headers=headers, timeout=_LIST_SECONDS, max_bytes=_MOST
            )
        except Problem as error:
            raise told(self.name, error) from error
        if answer.status in (404, 405, 501):
            return []
        if answer.status != 200:  # noqa: PLR2004 - HTTP
            raise failure(self.name, answer.status, answer.headers, answer.body)
        ids = _ids(self.name, answer.body)
        return [ModelInfo(i, self.name, self._window) for i in ids if self._listed is None or self._listed(i)]

    async def get_pricing(self) -> list[Pricing]:
        """List nothing: no vendor publishes prices on its API; `runtime.prices` knows them."""
        return []


def whole(response: ModelResponse) -> list[ModelEvent]:
    """Tell a whole answer as a stream would have."""
    events: list[ModelEvent] = []
    calls = 0
    for part in response.message.parts:
        if isinstance(part, Text):
            events.append(TextDelta(part.text))
        elif isinstance(part, Reasoning) and part.text:
            events.append(ReasoningDelta(part.text))
        elif isinstance(part, ToolCall):
            events.append(ToolCallDelta(calls, part.id, part.name, part.arguments))
            calls += 1
    return [*events, Done(response)]


def _authority(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def told(provider: str, error: Problem) -> Problem:
    """Leave model errors as they are and translate those of the connection."""
    return no_answer(provider, error) if error.code.startswith("egress_") else error


def _ids(provider: str, body: bytes) -> list[str]:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ModelProtocolError(f"{provider} lists its models in broken JSON.") from None
    rows: Any = cast("dict[str, Any]", document).get("data") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        return []
    found = [cast("dict[str, Any]", row).get("id") for row in cast("list[Any]", rows) if isinstance(row, dict)]
    return [i for i in found[:_MOST_IDS] if isinstance(i, str)]
