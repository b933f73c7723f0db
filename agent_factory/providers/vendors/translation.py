"""Our messages, tools and settings in pydantic-ai's types, and its answers in ours."""

import base64
from typing import Any

import orjson
import pydantic
from pydantic_ai import messages as theirs
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from agent_factory.core.message import Media, Message, Opaque, Part, Reasoning, Text, ToolCall, ToolResult
from agent_factory.core.model import Finish, ModelRequest, ModelResponse, Usage
from agent_factory.providers.wire.parts import arguments_text, raw, tagged, untagged

_PARTS: pydantic.TypeAdapter[theirs.ModelResponsePart] = pydantic.TypeAdapter(theirs.ModelResponsePart)
_FINISH: dict[str | None, Finish] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_call": "tool_calls",
    None: "stop",
}
_URLS = {"image": theirs.ImageUrl, "audio": theirs.AudioUrl, "video": theirs.VideoUrl}


def to_messages(request: ModelRequest, provider: str) -> list[theirs.ModelMessage]:
    """Write the conversation."""
    out: list[theirs.ModelMessage] = []
    if request.instructions:
        out.append(theirs.ModelRequest(parts=[theirs.SystemPromptPart(request.instructions)]))
    for message in request.messages:
        if message.role == "assistant":
            parts = [p for p in (_answered(p, provider) for p in message.parts) if p is not None]
            out.append(theirs.ModelResponse(parts=parts))
        else:
            out.append(theirs.ModelRequest(parts=_asked(message)))
    if request.output is not None:
        schema = orjson.dumps(request.output.schema).decode()
        wish = f"Answer with one JSON document and nothing else. It has to meet this JSON Schema:\n{schema}"
        out.insert(0, theirs.ModelRequest(parts=[theirs.SystemPromptPart(wish)]))
    return out


def _asked(message: Message) -> list[theirs.ModelRequestPart]:
    if message.role == "system":
        return [theirs.SystemPromptPart(message.text)]
    out: list[theirs.ModelRequestPart] = []
    shown: list[theirs.UserContent] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            outcome = "failed" if part.is_error else "success"
            out.append(theirs.ToolReturnPart(part.name, part.content, part.call_id, outcome=outcome))
            shown += [_media(m) for m in part.media]
        elif isinstance(part, Text):
            shown.append(part.text)
        elif isinstance(part, Media):
            shown.append(_media(part))
    if shown:
        only = shown[0]
        out.append(theirs.UserPromptPart(only if len(shown) == 1 and isinstance(only, str) else shown))
    return out


def _media(media: Media) -> theirs.UserContent:
    if media.url is not None:
        make = _URLS.get(media.media_type.partition("/")[0], theirs.DocumentUrl)
        return make(media.url, media_type=None if media.media_type.endswith("/*") else media.media_type)
    return theirs.BinaryContent(base64.b64decode(media.data or ""), media_type=media.media_type)


def _answered(part: Part, provider: str) -> theirs.ModelResponsePart | None:
    match part:
        case Text():
            return theirs.TextPart(part.text)
        case ToolCall():
            kept = untagged(provider, part.opaque)
            return _PARTS.validate_python(kept) if kept else theirs.ToolCallPart(part.name, part.arguments, part.id)
        case Reasoning() | Opaque() if part.provider == provider and part.opaque is not None:
            return _PARTS.validate_json(bytes(part.opaque))
        case _:
            return None


def parameters(request: ModelRequest, model: Model) -> ModelRequestParameters:
    """Write the tools, and the output's schema where the model has structured outputs of its own."""
    tools = [
        ToolDefinition(name=t.name, description=t.description, parameters_json_schema=t.parameters, strict=t.strict)
        for t in request.tools
    ]
    output = request.output
    if output is None or not model.profile.get("supports_json_schema_output", False):
        return ModelRequestParameters(function_tools=tools)
    wanted = OutputObjectDefinition(json_schema=output.schema, name=output.name, strict=output.strict)
    return ModelRequestParameters(function_tools=tools, output_mode="native", output_object=wanted)


def settings(request: ModelRequest) -> ModelSettings:
    """Write the settings: one attempt, the request's deadline, and what the caller set."""
    ours = request.settings
    effort: Any = False if ours.reasoning_effort == "none" else ours.reasoning_effort
    named: dict[str, Any] = {
        "temperature": ours.temperature,
        "top_p": ours.top_p,
        "max_tokens": ours.max_tokens,
        "seed": ours.seed,
        "stop_sequences": list(ours.stop) or None,
        "parallel_tool_calls": ours.parallel_tool_calls,
        "thinking": effort,
        "extra_body": ours.extra or None,
    }
    choice = ours.tool_choice
    if choice is not None and request.tools:
        named["tool_choice"] = choice if choice in ("auto", "none", "required") else [choice]
    out = ModelSettings(max_retries=0, request_timeout=request.timeout)
    out.update({k: v for k, v in named.items() if v is not None})  # pyright: ignore[reportCallIssue, reportArgumentType] - keys of the TypedDict, by name
    return out


def from_response(response: theirs.ModelResponse, provider: str) -> ModelResponse:
    """Read an answer; parts that only the vendor understands are kept as they are."""
    parts = tuple(p for p in (_read(part, provider) for part in response.parts) if p is not None)
    finish = _FINISH.get(response.finish_reason, "other")
    if finish == "stop" and any(isinstance(p, ToolCall) for p in parts):
        finish = "tool_calls"
    return ModelResponse(
        Message("assistant", parts),
        _usage(response.usage),
        finish,
        response.model_name or "",
        response.provider_response_id or "",
    )


def _read(part: theirs.ModelResponsePart, provider: str) -> Part | None:
    match part:
        case theirs.TextPart():
            return Text(part.content) if part.content else None
        case theirs.ToolCallPart():
            kept = _PARTS.dump_python(part, mode="json") if part.provider_details or part.id else None
            return ToolCall(
                part.tool_call_id,
                part.tool_name,
                arguments_text(part.args).strip() or "{}",
                tagged(provider, kept) if kept else None,
            )
        case theirs.ThinkingPart():
            return Reasoning(part.content, provider, raw(_PARTS.dump_python(part, mode="json")))
        case _:
            return Opaque(provider, raw(_PARTS.dump_python(part, mode="json")))


def _usage(usage: RequestUsage) -> Usage:
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.details.get("reasoning_tokens", 0),
    )
