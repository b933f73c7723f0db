"""The request side of chat completions: our messages, tools and settings in its words."""

import re
from typing import Any, cast

import msgspec
import orjson

from agent_factory.core.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from agent_factory.core.model import ModelRejected, ModelRequest, OutputSchema, ToolSpec
from agent_factory.providers.wire.parts import Encoded, untagged

REASONING_MODEL = re.compile(r"(?:^|/)(?:o[1-9]|gpt-(?:[5-9]|\d\d)(?!.*-chat))")
"""OpenAI's reasoning families: they take no sampling settings, wherever they are hosted."""

_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


class Dialect(msgspec.Struct, frozen=True):
    """What a provider does differently.

    `new_limit` sends `max_completion_tokens`; `strict` marks tools and schemas
    that OpenAI's strict mode can hold; `required` is the word that makes a
    model call a tool; `documents_by_url` sends documents as `document_url`;
    `bridged` puts a word of the model between tool results and a user's message.
    """

    provider: str
    new_limit: bool = False
    strict: bool = False
    required: str = "required"
    documents_by_url: bool = False
    bridged: bool = False


def request_body(request: ModelRequest, dialect: Dialect, cache: Encoded, *, stream: bool) -> dict[str, Any]:
    """Make the body of a request as a document ready for orjson."""
    body: dict[str, Any] = {"model": request.model, "messages": messages(request, dialect), "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = cache.get(request.tools) or cache.put(request.tools, [_tool(t, dialect) for t in request.tools])
        _tool_settings(request, dialect, body)
    _sampling(request, dialect, body)
    if request.output is not None:
        body["response_format"] = _response_format(request.output, dialect)
    body.update(request.settings.extra)
    return body


def messages(request: ModelRequest, dialect: Dialect) -> list[dict[str, Any]]:
    """Write the conversation, instructions first."""
    out: list[dict[str, Any]] = []
    if request.instructions:
        out.append({"role": "system", "content": request.instructions})
    for message in request.messages:
        if message.role == "assistant":
            out.append(_assistant(message, dialect.provider))
        elif message.role == "system":
            out.append({"role": "system", "content": message.text})
        else:
            _from_outside(message, dialect, out)
    return out


def _from_outside(message: Message, dialect: Dialect, out: list[dict[str, Any]]) -> None:
    """Write a user's or tools' message: results first, each its own, then what was said or shown."""
    shown: list[Text | Media] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            out.append({"role": "tool", "tool_call_id": part.call_id, "content": part.content})
            if part.media:
                shown += [Text(f"From the tool {part.name}:"), *part.media]
        elif isinstance(part, Text | Media):
            shown.append(part)
    if shown:
        if dialect.bridged and out and out[-1]["role"] == "tool":
            out.append({"role": "assistant", "content": "OK"})
        out.append({"role": "user", "content": _content(shown, dialect)})


def _content(parts: list[Text | Media], dialect: Dialect) -> str | list[dict[str, Any]]:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [{"type": "text", "text": p.text} if isinstance(p, Text) else _media(p, dialect) for p in parts]


def _media(media: Media, dialect: Dialect) -> dict[str, Any]:
    kind = media.media_type.partition("/")[0]
    where = media.url or f"data:{media.media_type};base64,{media.data or ''}"
    if kind in ("image", "video"):
        return {"type": f"{kind}_url", f"{kind}_url": {"url": where}}
    if dialect.documents_by_url and kind != "audio":
        return {"type": "document_url", "document_url": where}
    if media.data is None:
        raise ModelRejected(f"This model takes {media.media_type} only as data, not by URL.")
    if media.media_type in _AUDIO:
        return {"type": "input_audio", "input_audio": {"data": media.data, "format": _AUDIO[media.media_type]}}
    name = media.name or f"file.{media.media_type.rpartition('/')[2]}"
    return {"type": "file", "file": {"filename": name, "file_data": where}}


def _assistant(message: Message, provider: str) -> dict[str, Any]:
    out: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    calls: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, ToolCall):
            call = {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
            calls.append(call | untagged(provider, part.opaque))
        elif isinstance(part, Reasoning) and part.provider == provider:
            kept: dict[str, Any] = orjson.loads(bytes(part.opaque)) if part.opaque else {}
            if "reasoning_details" in kept:
                out["reasoning_details"] = kept["reasoning_details"]
            elif kept.get("field"):
                out[kept["field"]] = part.text
    if calls:
        out["tool_calls"] = calls
    elif out["content"] is None:
        out["content"] = ""  # servers refuse a message with neither words nor calls
    return out


def _tool(tool: ToolSpec, dialect: Dialect) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    if tool.strict and dialect.strict:
        function["strict"] = fits_strict(tool.parameters)
    return {"type": "function", "function": function}


def _tool_settings(request: ModelRequest, dialect: Dialect, body: dict[str, Any]) -> None:
    settings = request.settings
    if settings.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = settings.parallel_tool_calls
    choice = settings.tool_choice
    if choice in ("auto", "none", "required"):
        body["tool_choice"] = dialect.required if choice == "required" else choice
    elif choice is not None:
        body["tool_choice"] = {"type": "function", "function": {"name": choice}}


def _sampling(request: ModelRequest, dialect: Dialect, body: dict[str, Any]) -> None:
    settings = request.settings
    reasoning = REASONING_MODEL.search(request.model) is not None
    if not reasoning:
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.top_p is not None:
            body["top_p"] = settings.top_p
        if settings.stop:
            body["stop"] = list(settings.stop)
    if settings.max_tokens is not None:
        body["max_completion_tokens" if reasoning or dialect.new_limit else "max_tokens"] = settings.max_tokens
    if settings.seed is not None:
        body["seed"] = settings.seed
    if settings.reasoning_effort is not None:
        body["reasoning_effort"] = settings.reasoning_effort


def _response_format(output: OutputSchema, dialect: Dialect) -> dict[str, Any]:
    inner: dict[str, Any] = {"name": output.name, "schema": output.schema}
    if output.strict:
        inner["strict"] = not dialect.strict or fits_strict(output.schema)
    return {"type": "json_schema", "json_schema": inner}


def fits_strict(schema: dict[str, Any]) -> bool:
    """Tell whether OpenAI's strict mode takes a schema: every object closed, every property required."""
    if schema.get("type") == "object" or "properties" in schema:
        properties: dict[str, Any] = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", [])) != set(properties):
            return False
    for value in schema.values():
        inner: list[Any] = []
        if isinstance(value, list):
            inner = cast("list[Any]", value)
        elif isinstance(value, dict):
            found = cast("dict[str, Any]", value)
            inner = [found, *found.values()]
        if any(isinstance(i, dict) and not fits_strict(cast("dict[str, Any]", i)) for i in inner):
            return False
    return True
