"""Chat completions: the request, the answer, and the answer as a stream."""

from typing import Annotated, Any, Literal

import msgspec

from agent_factory.core.event import TextPiece, TurnCompleted, TurnEvent
from agent_factory.core.message import Message, Part, ToolCall, ToolResult
from agent_factory.core.model import ModelSettings, ToolSpec
from agent_factory.services.gateway.errors import BadRequest, Unsupported
from agent_factory.services.gateway.schemas.wire import (
    Content,
    Count,
    FunctionTool,
    JsonSchemaFormat,
    Seed,
    Temperature,
    TopP,
    chat_usage,
    parts,
    settings,
    stops,
    usable,
)

_encode = msgspec.json.encode


class CalledFunction(msgspec.Struct):
    """The function of a call in the history."""

    name: str
    arguments: str = "{}"


class Called(msgspec.Struct):
    """A tool call in the history."""

    id: str
    function: CalledFunction | None = None


class ChatMessage(msgspec.Struct):
    """One message as the caller tells it."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None
    tool_calls: list[Called] | None = None
    tool_call_id: str | None = None

    def message(self, at: str) -> Message:
        """Give it in our form; nothing of it is trusted yet."""
        said = parts(self.content, f"{at}.content")
        match self.role:
            case "system" | "developer":
                return Message("system", said)
            case "tool" | "function":
                if self.role == "tool" and not self.tool_call_id:
                    raise BadRequest("The result of a tool names its call.", f"{at}.tool_call_id", "missing")
                text = Message("tool", said).text
                return Message("tool", (ToolResult(self.tool_call_id or "", "", text),))
            case "user":
                return Message("user", said)
            case "assistant":
                return Message("assistant", said + self._calls())

    def _calls(self) -> tuple[Part, ...]:
        return tuple(
            ToolCall(call.id, call.function.name, call.function.arguments)
            for call in self.tool_calls or ()
            if call.function is not None
        )


class ChatTool(msgspec.Struct):
    """A tool that the caller offers and runs himself."""

    type: str
    function: FunctionTool | None = None


class ResponseFormat(msgspec.Struct):
    """The form that the answer has to have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class StreamOptions(msgspec.Struct):
    """What a stream holds besides words."""

    include_usage: bool | None = None


class NamedFunction(msgspec.Struct):
    """The one function that has to be called."""

    name: str


class NamedChoice(msgspec.Struct):
    """The choice of one function."""

    type: str
    function: NamedFunction | None = None


class ChatRequest(msgspec.Struct):
    """The body of `POST /v1/chat/completions`; fields that are not here are ignored."""

    model: str
    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1, max_length=10_000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stop: str | list[str] | None = None
    seed: Seed | None = None
    n: int | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    tools: Annotated[list[ChatTool], msgspec.Meta(max_length=128)] | None = None
    tool_choice: str | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    logprobs: bool | None = None
    modalities: list[str] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    store: bool | None = None

    def check(self) -> None:
        """Refuse what no agent can honour, rather than answer something else."""
        if self.n is not None and self.n != 1:
            raise Unsupported("An agent gives one answer; ask again for another.", "n", "only 1 is possible")
        if self.functions:
            raise Unsupported("`functions` is gone from the protocol; send them as `tools`.", "functions")
        if self.logprobs:
            raise Unsupported("An agent's answer has no log probabilities.", "logprobs")
        if self.modalities and self.modalities != ["text"]:
            raise Unsupported("Agents answer in text only.", "modalities")

    def said(self) -> list[Message]:
        """Give the messages in our form; nothing of them is trusted yet."""
        return [message.message(f"messages[{index}]") for index, message in enumerate(self.messages)]

    def client_tools(self) -> tuple[ToolSpec, ...]:
        """Give the tools that the caller runs himself."""
        found: list[ToolSpec] = []
        for index, tool in enumerate(self.tools or ()):
            if tool.type != "function" or tool.function is None:
                raise Unsupported("Only tools of type `function` can be offered.", f"tools[{index}].type")
            found.append(tool.function.spec())
        return tuple(found)

    def settings(self) -> ModelSettings | None:
        """Give the sampling settings that were asked for."""
        choice = self.tool_choice
        if isinstance(choice, NamedChoice):
            choice = choice.function.name if choice.function else None
        return settings(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=stops(self.stop),
            seed=self.seed,
            reasoning_effort=self.reasoning_effort,
            parallel_tool_calls=self.parallel_tool_calls,
            tool_choice=choice if self.tools else None,
        )

    def output(self) -> dict[str, Any] | None:
        """Give the schema that the answer should meet, if any."""
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return {"type": "object"}
        if wanted.json_schema is None or wanted.json_schema.schema is None:
            raise BadRequest("A `json_schema` format needs its schema.", "response_format.json_schema", "missing")
        return usable(wanted.json_schema.schema, "response_format.json_schema.schema")


def completion(id_: str, created: int, model: str, end: TurnCompleted) -> bytes:
    """Write the whole answer."""
    calls = end.messages[-1].tool_calls if end.finish == "tool_calls" and end.messages else []
    message: dict[str, Any] = {"role": "assistant", "content": end.text or (None if calls else ""), "refusal": None}
    if calls:
        message["tool_calls"] = [_call(call) for call in calls]
    return _encode(
        {
            "id": id_,
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(end)}],
            "usage": chat_usage(end.usage),
            "system_fingerprint": None,
        }
    )


class ChatStream:
    """Turns a turn's events into the bytes of a stream, as OpenAI's clients read it."""

    def __init__(self, id_: str, created: int, model: str, *, usage: bool) -> None:
        """Fix what every chunk says; with `usage` a chunk without choices closes the stream."""
        head = {"id": id_, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = b"data: " + _encode(head)[:-1]
        self._usage = usage
        # Encoded once: a stream is thousands of chunks that differ in their words alone.
        self._before = self._head + b',"choices":[{"index":0,"delta":{"content":'
        self._after = b'},"logprobs":null,"finish_reason":null}]' + (b',"usage":null' if usage else b"") + b"}\n\n"
        self._spoke = False

    def open(self) -> bytes:
        """Write the chunk that names the speaker."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None}, None)

    def feed(self, event: TurnEvent) -> bytes:
        """Write what an event means to the client; nothing for most."""
        match event:
            case TextPiece(text=text):
                self._spoke = True
                return self._before + _encode(text) + self._after
            case TurnCompleted():
                return self._close(event)
            case _:
                return b""

    def _close(self, end: TurnCompleted) -> bytes:
        out = b""
        if end.text and not self._spoke:
            out += self._before + _encode(end.text) + self._after
        if end.finish == "tool_calls" and end.messages:
            calls = [{"index": i, **_call(call)} for i, call in enumerate(end.messages[-1].tool_calls)]
            out += self._chunk({"tool_calls": calls}, None)
        out += self._chunk({}, _finish(end))
        if self._usage:
            out += self._head + b',"choices":[],"usage":' + _encode(chat_usage(end.usage)) + b"}\n\n"
        return out + b"data: [DONE]\n\n"

    def fail(self, error: dict[str, Any]) -> bytes:
        """Write an error in OpenAI's shape, on which the clients raise."""
        return b"data: " + _encode(error) + b"\n\n"

    def _chunk(self, delta: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._head + b',"choices":[' + _encode(choice) + (b'],"usage":null}' if self._usage else b"]}") + b"\n\n"


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _finish(end: TurnCompleted) -> str:
    return "stop" if end.finish == "other" else end.finish
