"""What a language model is to us: a request, a response, a stream, and the ways it fails."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import msgspec
import pydantic

from agent_factory.core.message import Message
from agent_factory.kit.errors import Kind, Problem

Finish = Literal["stop", "length", "tool_calls", "content_filter", "other"]


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as a model is told of it; `parameters` is a JSON Schema (2020-12) of an object."""

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool = False


class OutputSchema(msgspec.Struct, frozen=True):
    """The JSON Schema that a model's final answer has to meet."""

    name: str
    schema: dict[str, Any]
    strict: bool = True


class ModelSettings(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Sampling settings; what a vendor does not know is left out on its wire."""

    temperature: float | None = pydantic.Field(default=None, ge=0, le=2)
    top_p: float | None = pydantic.Field(default=None, gt=0, le=1)
    max_tokens: int | None = pydantic.Field(default=None, ge=1)
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: str | None = None
    parallel_tool_calls: pydantic.StrictBool | None = None
    tool_choice: str | None = None
    extra: dict[str, Any] = {}


class ModelRequest(msgspec.Struct, frozen=True):
    """One call of a model. `timeout` is the whole call's deadline in seconds."""

    model: str
    messages: tuple[Message, ...]
    instructions: str = ""
    tools: tuple[ToolSpec, ...] = ()
    settings: ModelSettings = ModelSettings()
    output: OutputSchema | None = None
    timeout: float = 120.0


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one or more calls; cached and reasoning tokens are part of input and output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Sum two usages field by field."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class ModelResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model's whole answer. `model` is the name that the vendor reports, for prices."""

    message: Message
    usage: Usage = Usage()
    finish: Finish = "stop"
    model: str = ""
    id: str = ""


class TextDelta(msgspec.Struct, frozen=True, tag="text_delta"):
    """More words of the answer."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, tag="reasoning_delta"):
    """More of the model's thoughts."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True, tag="tool_call_delta"):
    """More of a tool call: its name and id come first, then pieces of its arguments."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The end of a stream, with the whole response."""

    response: ModelResponse


ModelEvent = TextDelta | ReasoningDelta | ToolCallDelta | Done


class ModelInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model that a provider offers; `context_window` in tokens, where known."""

    id: str
    provider: str
    context_window: int | None = None


class Pricing(msgspec.Struct, frozen=True, omit_defaults=True):
    """USD per million tokens of one model, as decimal strings."""

    model: str
    input_usd_per_million: str
    output_usd_per_million: str
    cached_input_usd_per_million: str | None = None


class ModelProvider(Protocol):
    """A vendor or server that answers model calls (S122).

    Every failure is a `ModelError`; cancelling the caller's task closes the
    connection at once instead of draining it. Providers never retry: retries
    belong to the loop.
    """

    name: str

    async def inference(self, request: ModelRequest) -> ModelResponse:
        """Answer in one piece."""
        ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer in pieces; the last event, and only the last, is `Done`."""
        ...

    async def get_available_models(self) -> list[ModelInfo]:
        """List the models that may be asked for with the present credentials."""
        ...

    async def get_pricing(self) -> list[Pricing]:
        """List prices where the vendor publishes them."""
        ...


class Embeddings(msgspec.Struct, frozen=True):
    """The vectors of some texts, in their order. `model` is the name that the vendor reports."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    tokens: int = 0


@runtime_checkable
class Embedder(Protocol):
    """A provider that also turns texts into vectors."""

    async def embed(self, model: str, texts: Sequence[str], dimensions: int | None = None) -> Embeddings:
        """Embed texts; every failure is a `ModelError`, and nothing is tried twice."""
        ...


class ModelError(Problem):
    """A model call that failed.

    It has `begun` where the vendor may have worked on an answer already, such
    as when the connection broke after the request had been sent.
    """

    kind = Kind.UPSTREAM
    code = "model_failed"
    title = "The model call failed"
    begun = False


class ModelUnavailable(ModelError):
    """No connection, or the vendor answered 5xx or 529."""

    kind = Kind.UPSTREAM
    code = "model_unavailable"
    title = "The model is unavailable"
    retryable = True


class ModelRateLimited(ModelError):
    """The vendor answered 429."""

    kind = Kind.UPSTREAM
    code = "model_rate_limited"
    title = "The model's vendor limits the rate"
    retryable = True


class ModelTimeout(ModelError):
    """The call's deadline passed."""

    kind = Kind.TIMEOUT
    code = "model_timeout"
    title = "The model did not answer in time"
    retryable = True


class ModelAuthFailed(ModelError):
    """The vendor refused the credentials (401, 403)."""

    code = "model_auth_failed"
    title = "The model's vendor refused the credentials"


class ModelRejected(ModelError):
    """The vendor found fault with the request (400, 404, 413, 422)."""

    code = "model_rejected_request"
    title = "The model's vendor rejected the request"


class ContextExceeded(ModelRejected):
    """The conversation is longer than the model's window."""

    code = "context_window_exceeded"
    title = "The conversation does not fit the model's context window"


class ContentFiltered(ModelError):
    """The vendor's own filter stopped the answer."""

    code = "content_filtered"
    title = "The model's vendor filtered the answer"


class ModelProtocolError(ModelError):
    """The answer is not what the protocol says: broken JSON, a cut or endless stream."""

    code = "model_protocol_error"
    title = "The model's answer is malformed"
    retryable = True


class UnknownModel(Problem):
    """No provider answers to this model name."""

    kind: ClassVar[Kind] = Kind.INVALID
    code = "unknown_model"
    title = "Unknown model"
