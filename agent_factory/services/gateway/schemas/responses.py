"""Responses: the request and the stored answer."""

from typing import Annotated, Any, Literal

import msgspec

from agent_factory.core.event import TurnCompleted
from agent_factory.core.message import Message, Text, ToolCall, ToolResult
from agent_factory.core.model import ModelSettings, ToolSpec, Usage
from agent_factory.services.gateway.errors import BadRequest, Unsupported
from agent_factory.services.gateway.schemas.wire import (
    Content,
    ContentPart,
    Count,
    Temperature,
    ToolName,
    TopP,
    parts,
    responses_usage,
    settings,
    usable,
)

Metadata = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]],
    msgspec.Meta(max_length=16),
]

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]

_STATUS: dict[str, Status] = {
    "pending": "queued",
    "running": "in_progress",
    "waiting": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


class Item(msgspec.Struct):
    """One entry of the input; `type` says which fields count, and a role alone makes it a message."""

    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Content = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[ContentPart] | None = None

    def messages(self, at: str) -> list[Message]:
        """Give it in our form; nothing of it is trusted yet."""
        match self.type:
            case None | "message":
                if self.role is None:
                    raise BadRequest("A message has a role.", f"{at}.role", "missing")
                role = "system" if self.role == "developer" else self.role
                return [Message(role, parts(self.content, f"{at}.content"))]
            case "function_call":
                if self.call_id is None or self.name is None:
                    raise BadRequest("A function call has a `call_id` and a `name`.", at, "incomplete")
                return [Message("assistant", (ToolCall(self.call_id, self.name, self.arguments or "{}"),))]
            case "function_call_output":
                if self.call_id is None:
                    raise BadRequest("The output of a function names its call.", f"{at}.call_id", "missing")
                text = Message("tool", parts(self.output, f"{at}.output")).text
                return [Message("tool", (ToolResult(self.call_id, "", text),))]
            case "reasoning":
                return []
            case _:
                raise Unsupported("Input of this type means nothing to an agent.", f"{at}.type")


class Format(msgspec.Struct):
    """The form that the answer has to have."""

    type: Literal["text", "json_object", "json_schema"]
    schema: dict[str, Any] | None = None


class TextOptions(msgspec.Struct):
    """What the answer's text has to be like."""

    format: Format | None = None


class Effort(msgspec.Struct):
    """How hard to think."""

    effort: str | None = None


class ResponseTool(msgspec.Struct):
    """A tool that the caller offers and runs himself."""

    type: str
    name: ToolName | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Choice(msgspec.Struct):
    """The choice of one tool."""

    type: str
    name: str | None = None


class Conversation(msgspec.Struct):
    """A conversation by its id."""

    id: str


class ResponseRequest(msgspec.Struct):
    """The body of `POST /v1/responses`; fields that are not here are ignored."""

    model: str
    input: str | Annotated[list[Item], msgspec.Meta(min_length=1, max_length=10_000)]
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | Conversation | None = None
    max_output_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    text: TextOptions | None = None
    reasoning: Effort | None = None
    tools: Annotated[list[ResponseTool], msgspec.Meta(max_length=128)] | None = None
    tool_choice: str | Choice | None = None
    parallel_tool_calls: bool | None = None
    prompt: Any = None
    metadata: Metadata | None = None
    user: str | None = None

    def check(self) -> None:
        """Refuse what no agent can honour, rather than answer something else."""
        if self.prompt is not None:
            raise Unsupported("Stored prompts do not exist here; an agent has its own instructions.", "prompt")
        if self.background and self.store is False:
            raise BadRequest("An answer in the background has to be stored, or nobody could fetch it.", "store")
        if self.background and self.stream:
            raise Unsupported("Ask for an answer in the background, or for a stream, not for both.", "background")
        if self.previous_response_id is not None and self.conversation is not None:
            raise BadRequest("Name the conversation or its last response, not both.", "conversation")

    def said(self) -> list[Message]:
        """Give the input in our form; nothing of it is trusted yet."""
        head = [Message("system", (Text(self.instructions),))] if self.instructions else []
        if isinstance(self.input, str):
            return [*head, Message("user", parts(self.input, "input"))]
        return head + [m for index, item in enumerate(self.input) for m in item.messages(f"input[{index}]")]

    def conversation_id(self) -> str | None:
        """Give the id of the conversation that is named."""
        return self.conversation.id if isinstance(self.conversation, Conversation) else self.conversation

    def client_tools(self) -> tuple[ToolSpec, ...]:
        """Give the tools that the caller runs himself."""
        found: list[ToolSpec] = []
        for index, tool in enumerate(self.tools or ()):
            if tool.type != "function" or tool.name is None:
                raise Unsupported(
                    "Only tools of type `function` can be offered; the agent brings its own search and files.",
                    f"tools[{index}].type",
                )
            schema = tool.parameters or {"type": "object", "properties": {}}
            found.append(ToolSpec(tool.name, tool.description or "", schema, strict=bool(tool.strict)))
        return tuple(found)

    def settings(self) -> ModelSettings | None:
        """Give the sampling settings that were asked for."""
        choice = self.tool_choice.name if isinstance(self.tool_choice, Choice) else self.tool_choice
        return settings(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_output_tokens,
            reasoning_effort=self.reasoning.effort if self.reasoning else None,
            parallel_tool_calls=self.parallel_tool_calls if self.tools else None,
            tool_choice=choice if self.tools else None,
        )

    def output(self) -> dict[str, Any] | None:
        """Give the schema that the answer should meet, if any."""
        wanted = self.text.format if self.text else None
        if wanted is None or wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return {"type": "object"}
        if wanted.schema is None:
            raise BadRequest("A `json_schema` format needs its schema.", "text.format.schema", "missing")
        return usable(wanted.schema, "text.format.schema")


class Frame(msgspec.Struct, frozen=True):
    """What a response says of its request, whatever becomes of it."""

    id: str
    created: int
    model: str
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | None = None
    metadata: dict[str, str] = {}
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    tools: tuple[ToolSpec, ...] = ()
    parallel_tool_calls: bool = True
    store: bool = True
    background: bool = False
    schema: dict[str, Any] | None = None

    def response(
        self,
        status: Status,
        *,
        output: list[dict[str, Any]] | None = None,
        usage: Usage | None = None,
        error: dict[str, Any] | None = None,
        incomplete: str | None = None,
        completed: int | None = None,
    ) -> dict[str, Any]:
        """Write the response object."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": completed,
            "status": status,
            "background": self.background,
            "error": error,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "model": self.model,
            "output": output or [],
            "parallel_tool_calls": self.parallel_tool_calls,
            "previous_response_id": self.previous_response_id,
            "conversation": {"id": self.conversation} if self.conversation else None,
            "reasoning": {"effort": None, "summary": None},
            "store": self.store,
            "temperature": self.temperature,
            "text": {"format": self._format()},
            "tool_choice": "auto",
            "tools": [_tool(spec) for spec in self.tools],
            "top_p": self.top_p,
            "truncation": "disabled",
            "usage": None if usage is None else responses_usage(usage),
            "metadata": self.metadata,
        }

    def _format(self) -> dict[str, Any]:
        if self.schema is None:
            return {"type": "text"}
        return {"type": "json_schema", "name": "answer", "schema": self.schema, "strict": True}


def completed(frame: Frame, end: TurnCompleted, at: int | None) -> dict[str, Any]:
    """Write a response whose turn has come to its end; `at` is when, in seconds."""
    cut = end.finish == "length"
    return frame.response(
        "incomplete" if cut else "completed",
        output=output_items(frame.id, end.messages, frozenset(tool.name for tool in frame.tools)),
        usage=end.usage,
        incomplete="max_output_tokens" if cut else None,
        completed=at,
    )


def status_of(run_status: str) -> Status:
    """Give a run's status as Responses name it."""
    return _STATUS[run_status]


def message_item(id_: str, text: str | None, status: str = "completed") -> dict[str, Any]:
    """Write a message of the agent; without text one that has only begun."""
    content = [] if text is None else [text_part(text)]
    return {"id": id_, "type": "message", "role": "assistant", "status": status, "content": content}


def text_part(text: str) -> dict[str, Any]:
    """Write the words of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(id_: str, call: ToolCall, status: str = "completed") -> dict[str, Any]:
    """Write a call that the caller has to make."""
    return {
        "id": id_,
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments if status == "completed" else "",
        "status": status,
    }


def output_items(response_id: str, messages: tuple[Message, ...], client_tools: frozenset[str]) -> list[dict[str, Any]]:
    """Write what the agent said, and which of the caller's own tools it wants called.

    Calls of the agent's own tools are its own affair and do not appear.
    """
    items: list[dict[str, Any]] = []
    for message in messages:
        if message.role != "assistant":
            continue
        if message.text:
            items.append(message_item(item_id("msg", response_id, len(items)), message.text))
        for call in message.tool_calls:
            if call.name in client_tools:
                items.append(call_item(item_id("fc", response_id, len(items)), call))
    return items


def item_id(prefix: str, response_id: str, index: int) -> str:
    """Name an item of a response; the same item has the same name in the stream and when it is fetched."""
    return f"{prefix}_{response_id.partition('_')[2]}{index:02d}"


def input_items(response_id: str, message: Message) -> list[dict[str, Any]]:
    """Write the input of a response as its list of items."""
    name = item_id("in", response_id, 0)
    results = [p for p in message.parts if isinstance(p, ToolResult)]
    if results:
        return [
            {"id": f"{name}{i}", "type": "function_call_output", "call_id": r.call_id, "output": r.content}
            for i, r in enumerate(results)
        ]
    content = [{"type": "input_text", "text": p.text} for p in message.parts if isinstance(p, Text)]
    return [{"id": name, "type": "message", "role": "user", "status": "completed", "content": content}]


def failure(problem: dict[str, Any]) -> dict[str, Any]:
    """Write why a response failed; the code is ours, as the protocol's own list has no word for most."""
    return {"code": problem.get("code", "server_error"), "message": problem.get("detail", "")}


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.parameters,
        "strict": spec.strict,
    }
