"""Anthropic messages: the request side."""

import base64
import re
from typing import Any

import orjson

from agent_factory.core.message import Media, Message, Opaque, Part, Reasoning, Text, ToolCall, ToolResult
from agent_factory.core.model import ModelRequest, OutputSchema, ToolSpec
from agent_factory.providers.wire.parts import Encoded, mapping

_ANSWER_TOKENS = 16_000
"""What an answer may take where the caller does not say: the protocol wants a number."""
_SMALL = re.compile(r"claude-3-(?!7)")
_SMALL_TOKENS = 4096
_SPEAKS_SYSTEM = re.compile(r"claude-(?:opus-4-[89]|[a-z]+-[5-9])")
"""Models that take system messages inside a conversation."""
_NO_SCHEMAS = re.compile(r"claude-(?:[23]|instant|(?:opus|sonnet)-4(?:-0|-2025\d+|$))")
"""Models without structured outputs of their own."""
_ADAPTIVE = re.compile(r"claude-(?:(?:opus|sonnet)-4-[6-9]|[a-z]+-[5-9])")
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 12_288, "xhigh": 14_336}


def request_body(request: ModelRequest, provider: str, cache: Encoded, *, stream: bool) -> dict[str, Any]:
    """Make the body of a request as a document ready for orjson."""
    settings = request.settings
    system, messages = conversation(request, provider)
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": settings.max_tokens or (_SMALL_TOKENS if _SMALL.search(request.model) else _ANSWER_TOKENS),
        "messages": messages,
        "stream": stream,
    }
    if request.tools:
        body["tools"] = cache.get(request.tools) or cache.put(request.tools, [_tool(t) for t in request.tools])
        _tool_choice(request, body)
    if request.output is not None:
        if _NO_SCHEMAS.search(request.model):
            system = f"{system}\n\n{_in_words(request.output)}".lstrip()
        else:
            body["output_config"] = {"format": {"type": "json_schema", "schema": request.output.schema}}
    if system:
        body["system"] = system
    if settings.temperature is not None:
        body["temperature"] = min(settings.temperature, 1.0)
    if settings.top_p is not None:
        body["top_p"] = settings.top_p
    if settings.stop:
        body["stop_sequences"] = list(settings.stop)
    _thinking(request, body)
    body.update(settings.extra)
    return body


def conversation(request: ModelRequest, provider: str) -> tuple[str, list[dict[str, Any]]]:
    """Write the conversation, and what belongs above it."""
    system = [request.instructions] if request.instructions else []
    out: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role == "system" and (not out or not _SPEAKS_SYSTEM.search(request.model)):
            system.append(message.text)
            continue
        blocks = [b for p in message.parts for b in _blocks(p, provider, message)]
        blocks.sort(key=_is_no_result)  # results answer the calls just before them, so they stand first
        if blocks:
            out.append({"role": "user" if message.role == "tool" else message.role, "content": blocks})
    return "\n\n".join(system), out


def _is_no_result(block: dict[str, Any]) -> bool:
    return block["type"] != "tool_result"


def _blocks(part: Part, provider: str, message: Message) -> list[dict[str, Any]]:
    match part:
        case Text():
            last = part is message.parts[-1] and message.role == "assistant"
            words = part.text.rstrip() if last else part.text  # a trailing blank is refused
            return [{"type": "text", "text": words}] if words.strip() else []
        case Media():
            return [_media(part)]
        case ToolCall():
            return [{"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part.arguments)}]
        case ToolResult():
            return [_result(part)]
        case Reasoning() | Opaque():
            if part.provider != provider or part.opaque is None:
                return []
            block: dict[str, Any] = orjson.loads(bytes(part.opaque))
            unsigned = block.get("type") == "thinking" and not block.get("signature")
            return [] if unsigned else [block]


def _input(arguments: str) -> object:
    """Give arguments as an object; the protocol knows no broken ones."""
    try:
        value: object = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}
    return mapping(value)


def _result(result: ToolResult) -> dict[str, Any]:
    content: Any = result.content
    if result.media:
        words = [{"type": "text", "text": result.content}] if result.content.strip() else []
        content = words + [_media(m) for m in result.media]
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": result.call_id, "content": content}
    if result.is_error:
        block["is_error"] = True
    return block


def _media(media: Media) -> dict[str, Any]:
    kind = "image" if media.media_type.startswith("image/") else "document"
    if media.url is not None:
        return {"type": kind, "source": {"type": "url", "url": media.url}}
    source = {"type": "base64", "media_type": media.media_type, "data": media.data or ""}
    if media.media_type.startswith("text/"):  # of documents only PDF goes as base64
        words = base64.b64decode(media.data or "").decode("utf-8", "replace")
        source = {"type": "text", "media_type": "text/plain", "data": words}
    return {"type": kind, "source": source}


def _tool(tool: ToolSpec) -> dict[str, Any]:
    out: dict[str, Any] = {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
    return out | ({"strict": True} if tool.strict else {})


def _tool_choice(request: ModelRequest, body: dict[str, Any]) -> None:
    choice, parallel = request.settings.tool_choice, request.settings.parallel_tool_calls
    if choice is None and parallel is None:
        return
    if choice in (None, "auto", "none"):
        chosen: dict[str, Any] = {"type": choice or "auto"}
    elif choice == "required":
        chosen = {"type": "any"}
    else:
        chosen = {"type": "tool", "name": choice}
    if parallel is not None and choice != "none":
        chosen["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = chosen


def _thinking(request: ModelRequest, body: dict[str, Any]) -> None:
    effort = request.settings.reasoning_effort
    if effort is None or effort == "none":
        return
    if _ADAPTIVE.search(request.model):
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = body.get("output_config", {}) | {"effort": effort}
    else:
        budget = _BUDGETS.get(effort, _BUDGETS["medium"])
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
        body["max_tokens"] = max(body["max_tokens"], budget + 1024)  # the budget is part of the answer
    body.pop("temperature", None)  # refused while thinking
    body.pop("top_p", None)


def _in_words(output: OutputSchema) -> str:
    schema = orjson.dumps(output.schema).decode()
    return f"Answer with one JSON document and nothing else. It has to meet this JSON Schema:\n{schema}"
