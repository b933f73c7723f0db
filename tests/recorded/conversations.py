"""Recorded conversations, and the two protocols' messages in our form and in one canonical form."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from agent_factory.core.message import Media, Message, Opaque, Part, Reasoning, Role, Text, ToolCall, ToolResult

PROVIDER = "recorded"


class NativeError(Exception):
    """The conversation needs what one vendor alone has; the words say what."""


class Conversation(msgspec.Struct):
    """One recording."""

    name: str
    interactions: list[dict[str, Any]]


def load(folder: Path, protocol: str) -> list[Conversation]:
    """Read the recordings of one protocol."""
    with gzip.open(folder / f"{protocol}.jsonl.gz") as lines:
        return [msgspec.json.decode(line, type=Conversation) for line in lines]


def raw(document: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(document).encode())


def same_json(text: str) -> object:
    """Give JSON text as a document, and anything else as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def without_nulls(document: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in document.items() if v is not None}


class Chat:
    """Chat completions."""

    @staticmethod
    def native(request: dict[str, Any]) -> str | None:
        """Tell what of a request only its vendor has, if anything."""
        if any(t.get("type", "function") not in ("function", None) for t in request.get("tools") or []):
            return "a tool that runs at the vendor"
        if "web_search_options" in request:
            return "a tool that runs at the vendor"
        return "cache markers inside messages" if '"cache_control"' in json.dumps(request["messages"]) else None

    @staticmethod
    def tools(request: dict[str, Any]) -> list[dict[str, Any]]:
        return [t["function"] for t in request.get("tools") or []]

    @staticmethod
    def read(request: dict[str, Any]) -> tuple[str, list[Message]]:
        """Read a request into instructions and messages."""
        messages = request["messages"]
        instructions = ""
        if messages and messages[0]["role"] == "system":
            instructions, messages = _text(messages[0]["content"]), messages[1:]
        names: dict[str, str] = {}
        return instructions, [Chat.message(m, names) for m in messages]

    @staticmethod
    def message(message: dict[str, Any], names: dict[str, str]) -> Message:
        match message["role"]:
            case "assistant":
                fields = [f for f in ("reasoning_content", "reasoning") if f in message]
                parts: list[Part] = [Reasoning(message[f] or "", PROVIDER, raw({"field": f})) for f in fields]
                if "reasoning_details" in message:
                    parts.append(Reasoning("", PROVIDER, raw({"reasoning_details": message["reasoning_details"]})))
                words = _text(message.get("content"))
                parts += [Text(words)] if words else []
                for call in message.get("tool_calls") or []:
                    names[call["id"]] = call["function"]["name"]
                    parts.append(ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]))
                return Message("assistant", tuple(parts))
            case "tool":
                call_id = message["tool_call_id"]
                return Message("tool", (ToolResult(call_id, names.get(call_id, ""), _text(message["content"])),))
            case "user":
                content = message["content"]
                blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
                return Message("user", tuple(_chat_part(b) for b in blocks))
            case _:
                return Message("system", (Text(_text(message["content"])),))

    @staticmethod
    def canonical(request: dict[str, Any]) -> list[Any]:
        """Give a request's messages in one spelling of what the protocol spells in several."""
        return [Chat._canonical(m) for m in request["messages"]]

    @staticmethod
    def _canonical(message: dict[str, Any]) -> dict[str, Any]:
        out = without_nulls(message)
        content = out.pop("content", None)
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        blocks = [without_nulls(b) for b in content or []]
        out["content"] = [b for b in blocks if b != {"type": "text", "text": ""}]
        calls = out.pop("tool_calls", None)
        if calls:
            out["calls"] = [
                (c["id"], c["function"]["name"], same_json(c["function"].get("arguments", ""))) for c in calls
            ]
        if not out.get("prefix"):
            out.pop("prefix", None)
        return out

    @staticmethod
    def answer(interaction: dict[str, Any]) -> tuple[str, list[tuple[str, object]]] | None:
        """Read a recorded answer by the plainest means: its words and calls, or None for an error."""
        if interaction["status"] != 200:
            return None
        words, calls = "", dict[int, list[str]]()
        for document in _documents(interaction):
            if document.get("error"):
                return None
            for choice in (document.get("choices") or [])[:1]:
                delta = choice.get("delta") or choice.get("message") or {}
                words += _text(delta.get("content")) + (delta.get("refusal") or "")
                for place, call in enumerate(delta.get("tool_calls") or []):
                    row = calls.setdefault(call.get("index", place), ["", ""])
                    row[0] = row[0] or call["function"].get("name") or ""
                    row[1] += call["function"].get("arguments") or ""
        said = re.sub(r"^\s*<think>.*?(</think>|$)", "", words, count=1, flags=re.DOTALL)
        return said, [(name, same_json(arguments)) for name, arguments in calls.values()]


class Anthropic:
    """Anthropic messages."""

    @staticmethod
    def native(request: dict[str, Any]) -> str | None:
        if any(t.get("type") not in (None, "custom") for t in request.get("tools", [])):
            return "a tool that runs at the vendor"
        if "mcp_servers" in request:
            return "MCP servers that the vendor calls"
        text = json.dumps(request)
        for mark, reason in (
            ('"cache_control"', "cache markers"),
            ('"tool_reference"', "tools that the vendor loads later"),
            ('"tool_addition"', "tools that the vendor loads later"),
            ('"file_id"', "files that the vendor keeps"),
            ('"context_management"', "context that the vendor edits"),
        ):
            if mark in text:
                return reason
        return None

    @staticmethod
    def tools(request: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"name": t["name"], "description": t.get("description", ""), "parameters": t["input_schema"]}
            for t in request.get("tools", [])
            if "input_schema" in t
        ]

    @staticmethod
    def read(request: dict[str, Any]) -> tuple[str, list[Message]]:
        names: dict[str, str] = {}
        messages = [Anthropic.message(m, names) for m in request["messages"]]
        return _system(request), messages

    @staticmethod
    def message(message: dict[str, Any], names: dict[str, str]) -> Message:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts = tuple(_anthropic_part(b, names) for b in blocks)
        if message["role"] == "user" and parts and all(isinstance(p, ToolResult) for p in parts):
            return Message("tool", parts)
        return Message(message["role"], parts)

    @staticmethod
    def canonical(request: dict[str, Any]) -> list[Any]:
        system = _system(request)
        head = [{"role": "system", "content": system}] if system else []
        return head + [Anthropic._canonical(m) for m in request["messages"]]

    @staticmethod
    def _canonical(message: dict[str, Any]) -> dict[str, Any]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        out: list[Any] = []
        for block in blocks:
            plain = without_nulls(block)
            if plain.get("type") == "tool_result":
                inner = plain.get("content") or []
                plain["content"] = [{"type": "text", "text": inner}] if isinstance(inner, str) else inner
                plain = {k: v for k, v in plain.items() if k != "is_error" or v}
            out.append(plain)
        return {"role": message["role"], "content": [b for b in out if b != {"type": "text", "text": ""}]}

    @staticmethod
    def answer(interaction: dict[str, Any]) -> tuple[str, list[tuple[str, object]]] | None:
        if interaction["status"] != 200:
            return None
        words, calls, inputs = "", list[list[Any]](), dict[int, list[Any]]()
        for document in _documents(interaction):
            for block in document.get("content") or []:
                words += block["text"] if block["type"] == "text" else ""
                calls += [[block["name"], json.dumps(block["input"])]] if block["type"] == "tool_use" else []
            match document.get("type"):
                case "error":
                    return None
                case "content_block_start" if document["content_block"]["type"] == "tool_use":
                    inputs[document["index"]] = row = [document["content_block"]["name"], ""]
                    calls.append(row)
                case "content_block_delta":
                    words += document["delta"].get("text", "")
                    if document["index"] in inputs:
                        inputs[document["index"]][1] += document["delta"].get("partial_json", "")
                case _:
                    pass
        return words, [(name, same_json(text or "{}")) for name, text in calls]


class OpenAIResponses:
    """OpenAI responses."""

    @staticmethod
    def native(request: dict[str, Any]) -> str | None:
        if any(t.get("type") != "function" for t in request.get("tools") or []):
            return "a tool that runs at the vendor"
        if request.get("previous_response_id") or request.get("conversation"):
            return "a conversation that the vendor keeps"
        text = json.dumps(request)
        for mark, reason in (
            ('"tool_search_', "tools that the vendor loads later"),
            ('"additional_tools"', "tools that the vendor loads later"),
            ('"file_id"', "files that the vendor keeps"),
            ('"context_management"', "context that the vendor edits"),
            ('"background"', "runs that the vendor keeps"),
            ('"prompt_cache_breakpoint"', "cache markers"),
        ):
            if mark in text:
                return reason
        return None

    @staticmethod
    def tools(request: dict[str, Any]) -> list[dict[str, Any]]:
        return request.get("tools") or []

    @staticmethod
    def read(request: dict[str, Any]) -> tuple[str, list[Message]]:
        """Read a request; what one answer gave becomes one message again."""
        names: dict[str, str] = {}
        messages: list[Message] = []
        for item in _input(request):
            role, part = OpenAIResponses._item(item, names)
            last = messages[-1] if messages else None
            if last is not None and last.role == role == "assistant":
                messages[-1] = Message(role, (*last.parts, *part))
            else:
                messages.append(Message(role, part))
        return request.get("instructions") or "", messages

    @staticmethod
    def _item(item: dict[str, Any], names: dict[str, str]) -> tuple[Role, tuple[Part, ...]]:
        match item.get("type", "message"):
            case "message":
                role = item["role"]
                content = item["content"]
                blocks = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
                return role, tuple(_responses_part(b) for b in blocks)
            case "function_call":
                names[item["call_id"]] = item["name"]
                kept = {"provider": PROVIDER, "value": {k: item[k] for k in ("id",) if item.get(k)}}
                return "assistant", (ToolCall(item["call_id"], item["name"], item["arguments"], raw(kept)),)
            case "function_call_output":
                output = item["output"]
                inner = [] if isinstance(output, str) else output
                words = output if isinstance(output, str) else "".join(b.get("text", "") for b in inner)
                media = tuple(m for m in map(_responses_part, inner) if isinstance(m, Media))
                return "tool", (ToolResult(item["call_id"], names.get(item["call_id"], ""), words, media=media),)
            case "reasoning":
                return "assistant", (Reasoning("", PROVIDER, raw(item)),)
            case _:
                return "assistant", (Opaque(PROVIDER, raw(item)),)

    @staticmethod
    def canonical(request: dict[str, Any]) -> list[Any]:
        instructions = request.get("instructions")
        out: list[Any] = [{"role": "system", "content": instructions}] if instructions else []
        for item in _input(request):
            plain = OpenAIResponses._canonical(item)
            if plain == {"role": "assistant", "content": []}:
                continue
            role = plain.get("role", "tool" if plain.get("type") == "function_call_output" else "assistant")
            if role == "assistant" and out and out[-1]["role"] == "assistant":
                out[-1]["items"].append(plain)
            else:
                out.append({"role": role, "items": [plain]})
        return out

    @staticmethod
    def _canonical(item: dict[str, Any]) -> dict[str, Any]:
        out = without_nulls(item)
        if out.get("type") == "function_call":
            out["arguments"] = same_json(out["arguments"])
            out.pop("id", None)  # the call id is what ties it to its result
        if out.get("type") == "function_call_output" and isinstance(out["output"], list):
            out["output"] = [{k: v for k, v in b.items() if k != "detail"} for b in out["output"]]
        if "role" not in out:
            return out
        content = out.get("content") or []
        blocks = [{"text": content}] if isinstance(content, str) else content
        drop = ("type", "detail", "annotations", "logprobs")
        plain = [{k: v for k, v in b.items() if k not in drop} for b in blocks]
        return {"role": out["role"], "content": [b for b in plain if b != {"text": ""}]}

    @staticmethod
    def answer(interaction: dict[str, Any]) -> tuple[str, list[tuple[str, object]]] | None:
        if interaction["status"] != 200:
            return None
        documents = _documents(interaction)
        output = next((d["response"] for d in documents if d.get("type") == "response.completed"), documents[0])
        blocks = [b for o in output.get("output", []) if o["type"] == "message" for b in o["content"]]
        calls = [o for o in output.get("output", []) if o["type"] == "function_call"]
        words = "".join(b.get("text") or b.get("refusal") or "" for b in blocks)
        return words, [(c["name"], same_json(c["arguments"])) for c in calls]


def _input(request: dict[str, Any]) -> list[dict[str, Any]]:
    given = request["input"]
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def _responses_part(block: dict[str, Any]) -> Part:
    match block["type"]:
        case "input_text" | "output_text":
            return Text(block["text"])
        case "input_image" if "image_url" in block:
            url = block["image_url"]
            return _data_url(url) if url.startswith("data:") else Media("image/*", url=url)
        case "input_file" if "file_data" in block:
            return msgspec.structs.replace(_data_url(block["file_data"]), name=block.get("filename"))
        case "input_file" if "file_url" in block:
            return Media("application/pdf", url=block["file_url"])
        case kind:
            raise NativeError(f"content of type {kind}")


def _documents(interaction: dict[str, Any]) -> list[dict[str, Any]]:
    if "event-stream" not in interaction["content_type"]:
        return [json.loads(interaction["response"])]
    lines = [line[5:].strip() for line in interaction["response"].splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line and line != "[DONE]"]


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    blocks: list[Any] = content if isinstance(content, list) else []
    return "".join(b.get("text") or "" for b in blocks if b.get("type") == "text")


def _system(request: dict[str, Any]) -> str:
    system = request.get("system") or ""
    return system if isinstance(system, str) else "\n\n".join(b["text"] for b in system)


def _data_url(url: str) -> Media:
    head, _, data = url.partition(",")
    return Media(head.removeprefix("data:").partition(";")[0], data=data)


def _chat_part(block: dict[str, Any]) -> Part:
    match block["type"]:
        case "text":
            return Text(block["text"])
        case "image_url" | "video_url" as kind:
            where = block[kind]
            if where.keys() - {"url"}:
                raise NativeError("image settings of one vendor")
            url = where["url"]
            return _data_url(url) if url.startswith("data:") else Media(f"{kind[:5]}/*", url=url)
        case "document_url":
            url = block["document_url"]
            return _data_url(url) if url.startswith("data:") else Media("application/pdf", url=url)
        case "input_audio":
            return Media(
                {"mp3": "audio/mpeg"}.get(block["input_audio"]["format"], "audio/wav"),
                data=block["input_audio"]["data"],
            )
        case "file" if "file_data" in block["file"]:
            media = _data_url(block["file"]["file_data"])
            return msgspec.structs.replace(media, name=block["file"].get("filename"))
        case kind:
            raise NativeError(f"content of type {kind}")


def _anthropic_part(block: dict[str, Any], names: dict[str, str]) -> Part:
    match block["type"]:
        case "text":
            return Text(block["text"])
        case "tool_use":
            names[block["id"]] = block["name"]
            return ToolCall(block["id"], block["name"], json.dumps(block["input"]))
        case "tool_result":
            content = block["content"]
            inner = [] if isinstance(content, str) else [b for b in content if b["type"] != "text"]
            media = tuple(m for m in (_anthropic_part(b, names) for b in inner) if isinstance(m, Media))
            call_id = block["tool_use_id"]
            return ToolResult(call_id, names.get(call_id, ""), _text(content), bool(block.get("is_error")), media)
        case "image" | "document":
            return _anthropic_media(block)
        case "thinking" | "redacted_thinking":
            return Reasoning(block.get("thinking", ""), PROVIDER, raw(block))
        case _:
            return Opaque(PROVIDER, raw(block))


def _anthropic_media(block: dict[str, Any]) -> Media:
    source = block["source"]
    match source["type"]:
        case "url":
            return Media("image/*" if block["type"] == "image" else "application/pdf", url=source["url"])
        case "text":
            return Media("text/plain", data=base64.b64encode(source["data"].encode()).decode())
        case _:
            return Media(source["media_type"], data=source["data"])
