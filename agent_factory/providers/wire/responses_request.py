"""OpenAI responses: the request side, without state at the vendor."""

from typing import Any

import orjson

from agent_factory.core.message import Media, Message, Opaque, Reasoning, Text, ToolCall, ToolResult
from agent_factory.core.model import ModelRejected, ModelRequest, ToolSpec
from agent_factory.providers.wire.chat_messages import REASONING_MODEL, fits_strict
from agent_factory.providers.wire.parts import Encoded, untagged


def request_body(request: ModelRequest, provider: str, cache: Encoded, *, stream: bool) -> dict[str, Any]:
    """Make the body of a request as a document ready for orjson."""
    settings = request.settings
    body: dict[str, Any] = {
        "model": request.model,
        "input": items(request, provider),
        "stream": stream,
        "store": False,
        "include": ["reasoning.encrypted_content"],  # without state there, thoughts travel with the conversation
    }
    if request.instructions:
        body["instructions"] = request.instructions
    if request.tools:
        body["tools"] = cache.get(request.tools) or cache.put(request.tools, [_tool(t) for t in request.tools])
        _tool_settings(request, body)
    if REASONING_MODEL.search(request.model) is None:
        sampling = {"temperature": settings.temperature, "top_p": settings.top_p}
        body |= {k: v for k, v in sampling.items() if v is not None}
    if settings.max_tokens is not None:
        body["max_output_tokens"] = settings.max_tokens
    if settings.reasoning_effort is not None:
        body["reasoning"] = {"effort": settings.reasoning_effort}
    output = request.output
    if output is not None:
        strict = output.strict and fits_strict(output.schema)
        body["text"] = {
            "format": {"type": "json_schema", "name": output.name, "schema": output.schema, "strict": strict}
        }
    body.update(settings.extra)
    return body


def items(request: ModelRequest, provider: str) -> list[dict[str, Any]]:
    """Write the conversation as input items."""
    out: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role == "assistant":
            out += _answered(message, provider)
        elif message.role == "system":
            out.append({"role": "system", "content": message.text})
        else:
            _asked(message, out)
    return out


def _asked(message: Message, out: list[dict[str, Any]]) -> None:
    shown: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            out.append({"type": "function_call_output", "call_id": part.call_id, "output": _output(part)})
        elif isinstance(part, Text):
            shown.append({"type": "input_text", "text": part.text})
        elif isinstance(part, Media):
            shown.append(_media(part))
    if len(shown) == 1 and shown[0]["type"] == "input_text":
        out.append({"role": "user", "content": shown[0]["text"]})
    elif shown:
        out.append({"role": "user", "content": shown})


def _output(result: ToolResult) -> str | list[dict[str, Any]]:
    if not result.media:
        return result.content
    words = [{"type": "input_text", "text": result.content}] if result.content else []
    return words + [_media(m) for m in result.media]


def _media(media: Media) -> dict[str, Any]:
    where = media.url or f"data:{media.media_type};base64,{media.data or ''}"
    kind = media.media_type.partition("/")[0]
    if kind == "image":
        return {"type": "input_image", "image_url": where}
    if kind in ("audio", "video"):
        raise ModelRejected(f"This protocol takes no {kind}.")
    if media.url is not None:
        return {"type": "input_file", "file_url": media.url}
    name = media.name or f"file.{media.media_type.rpartition('/')[2]}"
    return {"type": "input_file", "filename": name, "file_data": where}


def _answered(message: Message, provider: str) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    thought = any(isinstance(p, Reasoning) and p.provider == provider and p.opaque for p in message.parts)
    for part in message.parts:
        match part:
            case Text():
                out.append({"role": "assistant", "content": part.text})
            case ToolCall():
                call = {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
                # The vendor ties an item with an id to the thought before it, and refuses the one without the other.
                out.append(call | (untagged(provider, part.opaque) if thought else {}))
            case Reasoning() | Opaque() if part.provider == provider and part.opaque is not None:
                out.append(orjson.loads(bytes(part.opaque)))
            case _:
                pass
    return out


def _tool(tool: ToolSpec) -> dict[str, Any]:
    strict = tool.strict and fits_strict(tool.parameters)
    described = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", **described, "strict": strict}


def _tool_settings(request: ModelRequest, body: dict[str, Any]) -> None:
    settings = request.settings
    if settings.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = settings.parallel_tool_calls
    choice = settings.tool_choice
    if choice is not None:
        words = choice in ("auto", "none", "required")
        body["tool_choice"] = choice if words else {"type": "function", "name": choice}
