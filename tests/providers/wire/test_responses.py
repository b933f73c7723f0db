"""OpenAI responses as they really come (S56, S115)."""

import json
from typing import Any

import msgspec
import pytest

from agent_factory.core.message import Media, Message, Opaque, Reasoning, Text, ToolCall, ToolResult, assistant, user
from agent_factory.core.model import (
    ModelProtocolError,
    ModelRateLimited,
    ModelRejected,
    ModelRequest,
    ModelSettings,
    ModelUnavailable,
    OutputSchema,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
    Usage,
)
from agent_factory.providers.wire.responses import Responses
from tests.providers.wire.streams import answer, read, sse

WIRE = Responses("openai")
TOOL = ToolSpec("add", "Adds", {"type": "object"})
WORDS = {"type": "message", "id": "m1", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
CALL = {"type": "function_call", "id": "fc1", "call_id": "c1", "name": "add", "arguments": '{"a":1}'}
THOUGHT = {
    "type": "reasoning",
    "id": "rs1",
    "summary": [{"type": "summary_text", "text": "hm"}],
    "encrypted_content": "x",
}


def encode(*messages: Message, **more: Any) -> dict[str, Any]:
    request = msgspec.structs.replace(ModelRequest("gpt-4o", messages), **more)
    return json.loads(WIRE.encode(request, stream=False))


def document(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "r1", "model": "gpt-x", "status": "completed", "output": output} | more


def decode(*output: dict[str, Any], **more: Any) -> Any:
    return WIRE.decode(json.dumps(document(*output, **more)).encode())


def test_a_conversation_is_written_as_items_and_kept_nowhere_else() -> None:
    body = encode(
        user("hi"),
        Message("assistant", (Text("sure"), ToolCall("c1", "add", "{}"))),
        Message("tool", (ToolResult("c1", "add", "2"),)),
        instructions="Be brief.",
        tools=(TOOL,),
        settings=ModelSettings(max_tokens=5, temperature=0.5, tool_choice="add", parallel_tool_calls=False),
    )
    assert body["input"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "sure"},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
    ]
    assert (body["instructions"], body["store"], body["include"]) == (
        "Be brief.",
        False,
        ["reasoning.encrypted_content"],
    )
    assert (body["max_output_tokens"], body["temperature"], body["parallel_tool_calls"]) == (5, 0.5, False)
    assert body["tool_choice"] == {"type": "function", "name": "add"}
    assert body["tools"][0]["name"] == "add"


def test_media_and_schemas_take_its_form() -> None:
    shown = (Text("look"), Media("image/png", data="aGk="), Media("application/pdf", url="https://x/y.pdf"))
    body = encode(
        Message("user", shown),
        Message("tool", (ToolResult("c", "draw", "done", media=(Media("image/png", data="aGk="),)),)),
        output=OutputSchema("answer", {"type": "object"}),
    )
    assert [b["type"] for b in body["input"][0]["content"]] == ["input_text", "input_image", "input_file"]
    assert [b["type"] for b in body["input"][1]["output"]] == ["input_text", "input_image"]
    assert body["text"]["format"] == {
        "type": "json_schema",
        "name": "answer",
        "schema": {"type": "object"},
        "strict": False,
    }
    with pytest.raises(ModelRejected):
        encode(Message("user", (Media("audio/wav", data="aGk="),)))


def test_an_answer_is_read() -> None:
    usage = {"input_tokens": 9, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 2}}
    response = decode(THOUGHT, WORDS, CALL, usage=usage | {"output_tokens_details": {"reasoning_tokens": 3}})
    assert response.message.text == "hi"
    assert [(c.id, c.name, c.arguments) for c in response.message.tool_calls] == [("c1", "add", '{"a":1}')]
    assert (response.usage, response.finish, response.id, response.model) == (
        *(Usage(9, 7, 2, 0, 3), "tool_calls", "r1", "gpt-x"),
    )


def test_thoughts_go_back_whole_with_the_items_that_they_belong_to() -> None:
    message = decode(THOUGHT, CALL).message
    assert encode(message)["input"] == [THOUGHT, CALL]
    foreign = json.loads(Responses("other").encode(ModelRequest("m", (message,)), stream=False))
    assert foreign["input"] == [{k: v for k, v in CALL.items() if k != "id"}]
    assert "id" not in encode(decode(CALL).message)["input"][0]


@pytest.mark.parametrize(
    "item", [{"type": "web_search_call", "id": "w"}, {"type": "compaction", "x": [1]}, {"type": "new"}]
)
def test_what_only_the_vendor_understands_is_kept(item: dict[str, Any]) -> None:
    message = decode(item, WORDS).message
    assert isinstance(message.parts[0], Opaque)
    assert encode(message)["input"][0] == item


@pytest.mark.parametrize(
    ("more", "finish"),
    [
        ({}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]}, "content_filter"),
    ],
)
def test_the_end_has_a_reason(more: dict[str, Any], finish: str) -> None:
    assert decode(WORDS, **more).finish == finish


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"status": "failed"}', b'{"status": "in_progress", "output": []}']
)
def test_a_malformed_answer_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ModelProtocolError):
        WIRE.decode(body)


@pytest.mark.parametrize("size", [1, 11, 100_000])
def test_a_stream_is_the_same_however_it_is_cut(size: int) -> None:
    stream = sse(
        {"type": "response.created", "response": {"status": "in_progress"}},
        {"type": "response.reasoning_summary_text.delta", "delta": "hm"},
        {"type": "response.output_item.done", "output_index": 0, "item": THOUGHT},
        {"type": "response.output_text.delta", "delta": "h"},
        {"type": "response.output_text.delta", "delta": "i"},
        {"type": "response.output_item.added", "output_index": 2, "item": CALL | {"arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"},
        {"type": "response.invented_tomorrow"},
        {"type": "response.completed", "response": document(THOUGHT, WORDS, CALL)},
        "[DONE]",
    )
    events = read(WIRE.decoder(), stream, size)
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["h", "i"]
    assert [e.text for e in events if isinstance(e, ReasoningDelta)] == ["hm"]
    told = [e for e in events if isinstance(e, ToolCallDelta)]
    assert (told[0].id, told[0].name, "".join(e.arguments for e in told)) == ("c1", "add", '{"a":1}')
    message = answer(WIRE, stream, size).message
    assert [type(p) for p in message.parts] == [Reasoning, Text, ToolCall]


def test_a_last_event_without_items_takes_those_that_came() -> None:
    stream = sse(
        {"type": "response.output_item.done", "output_index": 0, "item": WORDS},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    )
    assert answer(WIRE, stream).message == assistant("hi")


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "x"}, ModelRateLimited),
        ({"type": "error", "error": {"code": "server_error", "message": "x"}}, ModelUnavailable),
        (
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "x"}}},
            ModelUnavailable,
        ),
        ({"type": "response.created"}, ModelProtocolError),
    ],
)
def test_a_stream_that_fails_or_is_cut_has_its_class(event: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        read(WIRE.decoder(), sse({"type": "response.output_text.delta", "delta": "half"}, event))
