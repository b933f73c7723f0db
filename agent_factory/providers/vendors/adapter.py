"""Answers model calls by a model of pydantic-ai, without its retries."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, contextmanager

from pydantic_ai import exceptions
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import (
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import Model, StreamedResponse, infer_model

from agent_factory.core.model import (
    ContentFiltered,
    ContextExceeded,
    Done,
    ModelAuthFailed,
    ModelError,
    ModelEvent,
    ModelInfo,
    ModelProtocolError,
    ModelRateLimited,
    ModelRejected,
    ModelRequest,
    ModelResponse,
    ModelTimeout,
    ModelUnavailable,
    Pricing,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from agent_factory.providers.vendors.translation import from_response, parameters, settings, to_messages
from agent_factory.providers.wire.parts import arguments_text

_KINDS: tuple[tuple[type[BaseException], type[ModelError]], ...] = (
    (exceptions.ModelContextWindowExceededError, ContextExceeded),
    (exceptions.ModelAuthenticationError, ModelAuthFailed),
    (exceptions.ModelRequestRejectedError, ModelRejected),
    (exceptions.ModelRateLimitError, ModelRateLimited),
    (exceptions.ModelQuotaExceededError, ModelRateLimited),
    (exceptions.ModelTimeoutError, ModelTimeout),
    (exceptions.ModelAPIError, ModelUnavailable),
    (exceptions.ContentFilterError, ContentFiltered),
    (exceptions.UnexpectedModelBehavior, ModelProtocolError),
    (exceptions.UserError, ModelRejected),
    (ImportError, ModelRejected),
    (TimeoutError, ModelTimeout),
)


class Adapter:
    """One provider for all vendors of pydantic-ai; a request's model is `vendor:model`."""

    def __init__(self, name: str, find: Callable[[str], Model] = infer_model) -> None:
        """Keep one pydantic-ai model, and so one client, for each name; `find` makes it."""
        self.name = name
        self._find = find
        self._models: dict[str, Model] = {}

    async def inference(self, request: ModelRequest) -> ModelResponse:
        """Answer in one piece."""
        with self._translated():
            model = self._model(request.model)
            async with asyncio.timeout(request.timeout):
                response = await model_request(
                    model,
                    to_messages(request, self.name),
                    model_settings=settings(request),
                    model_request_parameters=parameters(request, model),
                )
            return from_response(response, self.name)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer in pieces; the last event, and only the last, is `Done`."""
        deadline = asyncio.get_running_loop().time() + request.timeout
        with self._translated():
            async with AsyncExitStack() as stack:
                model = self._model(request.model)
                async with asyncio.timeout_at(deadline):
                    streamed = await stack.enter_async_context(
                        model_request_stream(
                            model,
                            to_messages(request, self.name),
                            model_settings=settings(request),
                            model_request_parameters=parameters(request, model),
                        )
                    )
                async for event in self._events(streamed, deadline):
                    yield event
                yield Done(from_response(streamed.get(), self.name))

    @staticmethod
    async def _events(streamed: StreamedResponse, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        pieces = aiter(streamed)
        calls: dict[int, int] = {}
        while True:
            try:
                # The deadline must not fire while the consumer has the generator suspended.
                async with asyncio.timeout_at(deadline):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            event = _told(piece, calls)
            if event is not None:
                yield event

    async def get_available_models(self) -> list[ModelInfo]:
        """List nothing: the vendors' models are too many to be of use, and cost a request each."""
        return []

    async def get_pricing(self) -> list[Pricing]:
        """List nothing; `runtime.prices` knows prices by the vendor's name."""
        return []

    def _model(self, name: str) -> Model:
        found = self._models.get(name)
        if found is None:
            found = self._models[name] = self._find(name)
        return found

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except ModelError:
            raise
        except Exception as error:  # vendors' clients raise what they like; to the loop all of it is a failed call
            raise _failure(self.name, error) from error


def _failure(name: str, error: Exception) -> ModelError:
    kind = next((ours for theirs, ours in _KINDS if isinstance(error, theirs)), ModelUnavailable)
    detail = f"{name}: {type(error).__name__}: {str(error)[:500]}"
    if kind is ModelAuthFailed:
        detail = f"{name}: the vendor refused the credentials; check its variables."
    after = error.retry_after if isinstance(error, exceptions.ModelAPIError) else None
    return kind(detail, retry_after=after)


def _told(piece: ModelResponseStreamEvent, calls: dict[int, int]) -> ModelEvent | None:
    match piece:
        case PartStartEvent(part=TextPart(content=words)) | PartDeltaEvent(delta=TextPartDelta(content_delta=words)):
            return TextDelta(words) if words else None
        case PartStartEvent(part=ThinkingPart(content=thought)):
            return ReasoningDelta(thought) if thought else None
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=thought)):
            return ReasoningDelta(thought) if thought else None
        case PartStartEvent(index=index, part=ToolCallPart() as call):
            calls[index] = len(calls)
            return ToolCallDelta(calls[index], call.tool_call_id, call.tool_name, arguments_text(call.args))
        case PartDeltaEvent(index=index, delta=ToolCallPartDelta(args_delta=arguments)) if arguments:
            return ToolCallDelta(calls.setdefault(index, len(calls)), arguments=arguments_text(arguments))
        case _:
            return None
