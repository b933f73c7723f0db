"""Anthropic's messages as they really come (S115)."""

import json
from typing import Any

import msgspec
import pytest

from agent_factory.core.message import Media, Message, Opaque, Reasoning, Text, ToolCall, ToolResult, assistant, user
from agent_factory.core.model import (
    ContextExceeded,
    ModelProtocolError,
    ModelRateLimited,
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
from agent_factory.providers.wire.messages import AnthropicMessages
from tests.providers.wire.streams import answer, read, sse

WIRE = AnthropicMessages("anthropic")
TOOL = ToolSpec("add", "Adds", {"type": "object"})
MODEL = "claude-sonnet-4-5"
START = {"type": "message_start", "message": {"id": "m1", "model": "claude-x", "usage": {"input_tokens": 5}}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
STOP = {"type": "message_stop"}


def encode(*messages: Message, model: str = MODEL, **more: Any) -> dict[str, Any]:
    request = msgspec.structs.replace(ModelRequest(model, messages), **more)
    return json.loads(WIRE.encode(request, stream=False))


def block(index: int, document: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": document},
        *({"type": "content_block_delta", "index": index, "delta": d} for d in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def words(index: int, *pieces: str) -> list[dict[str, Any]]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": p} for p in pieces))


def decode(*content: dict[str, Any], **more: Any) -> Any:
    return WIRE.decode(json.dumps({"content": content, "stop_reason": "end_turn"} | more).encode())


class TestRequests:
    def test_a_conversation_is_written_in_its_blocks(self) -> None:
        call = ToolCall("c1", "add", '{"a":1}')
        body = encode(
            user("hi"),
            Message("assistant", (Text("sure"), call)),
            Message("tool", (ToolResult("c1", "add", "2"),)),
            instructions="Be brief.",
            tools=(TOOL,),
        )
        assert body == {
            "model": MODEL,
            "max_tokens": 16_000,
            "stream": False,
            "system": "Be brief.",
            "tools": [{"name": "add", "description": "Adds", "input_schema": {"type": "object"}}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "sure"},
                        {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "2"}]},
            ],
        }

    def test_results_stand_before_words_and_say_when_they_failed(self) -> None:
        mixed = Message("user", (Text("go on"), ToolResult("c1", "add", "no", is_error=True)))
        content = encode(mixed)["messages"][0]["content"]
        assert content == [
            {"type": "tool_result", "tool_use_id": "c1", "content": "no", "is_error": True},
            {"type": "text", "text": "go on"},
        ]

    def test_media_become_images_and_documents(self) -> None:
        shown = (
            Media("image/png", data="aGk="),
            Media("image/*", url="https://x/y.png"),
            Media("application/pdf", data="aGk="),
            Media("text/plain", data="aGk="),
        )
        sources = [(b["type"], b["source"]) for b in encode(Message("user", shown))["messages"][0]["content"]]
        assert sources == [
            ("image", {"type": "base64", "media_type": "image/png", "data": "aGk="}),
            ("image", {"type": "url", "url": "https://x/y.png"}),
            ("document", {"type": "base64", "media_type": "application/pdf", "data": "aGk="}),
            ("document", {"type": "text", "media_type": "text/plain", "data": "hi"}),
        ]

    def test_what_a_tool_shows_stands_in_its_result(self) -> None:
        result = ToolResult("c", "draw", "done", media=(Media("image/png", data="aGk="),))
        content = encode(Message("tool", (result,)))["messages"][0]["content"][0]["content"]
        assert [b["type"] for b in content] == ["text", "image"]

    @pytest.mark.parametrize("arguments", ["", "{", "[1]", "null"])
    def test_broken_arguments_are_sent_as_an_empty_object(self, arguments: str) -> None:
        body = encode(Message("assistant", (ToolCall("c", "add", arguments),)))
        assert body["messages"][0]["content"][0]["input"] == {}

    def test_empty_words_are_left_out_for_the_vendor_refuses_them(self) -> None:
        body = encode(user(" "), assistant("yes \n"), Message("assistant", ()))
        assert body["messages"] == [{"role": "assistant", "content": [{"type": "text", "text": "yes"}]}]

    def test_system_messages_stay_in_place_only_where_the_model_takes_them(self) -> None:
        rule = Message("system", (Text("Rhyme."),))
        old = encode(rule, user("a"), assistant("b"), rule, user("c"), instructions="Be brief.")
        new = encode(user("a"), assistant("b"), rule, user("c"), model="claude-opus-4-8")
        assert old["system"] == "Be brief.\n\nRhyme.\n\nRhyme."
        assert [m["role"] for m in old["messages"]] == ["user", "assistant", "user"]
        assert [m["role"] for m in new["messages"]] == ["user", "assistant", "system", "user"]

    @pytest.mark.parametrize(
        ("choice", "sent"),
        [("auto", "auto"), ("required", "any"), ("none", "none"), ("add", "tool"), (None, "auto")],
    )
    def test_a_tool_choice_is_put_in_its_words(self, choice: str | None, sent: str) -> None:
        settings = ModelSettings(tool_choice=choice, parallel_tool_calls=False)
        chosen = encode(user("x"), tools=(TOOL,), settings=settings)["tool_choice"]
        assert chosen["type"] == sent
        assert chosen.get("disable_parallel_tool_use", choice == "none")

    def test_settings_are_put_in_its_words(self) -> None:
        settings = ModelSettings(temperature=1.5, top_p=0.5, stop=("x",), max_tokens=9, seed=1, extra={"top_k": 2})
        body = encode(user("x"), settings=settings)
        assert (body["temperature"], body["top_p"], body["stop_sequences"], body["max_tokens"], body["top_k"]) == (
            *(1.0, 0.5, ["x"], 9, 2),
        )
        assert "seed" not in body

    def test_effort_thinks_by_budget_or_by_itself(self) -> None:
        settings = ModelSettings(reasoning_effort="medium", max_tokens=100, temperature=0.2)
        old = encode(user("x"), settings=settings)
        new = encode(user("x"), settings=settings, model="claude-opus-4-6")
        assert old["thinking"] == {"type": "enabled", "budget_tokens": 8192}
        assert old["max_tokens"] > 8192
        assert "temperature" not in old
        assert new["thinking"] == {"type": "adaptive"}
        assert new["output_config"] == {"effort": "medium"}
        assert "thinking" not in encode(user("x"), settings=ModelSettings(reasoning_effort="none"))

    def test_an_output_schema_is_a_format_or_a_wish(self) -> None:
        output = OutputSchema("answer", {"type": "object"})
        new = encode(user("x"), output=output)
        old = encode(user("x"), output=output, model="claude-3-5-haiku-latest", instructions="Be brief.")
        assert new["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
        assert "output_config" not in old
        assert old["system"].startswith("Be brief.\n\n")
        assert '{"type":"object"}' in old["system"]

    def test_old_models_get_a_limit_that_they_take(self) -> None:
        assert encode(user("x"), model="claude-3-haiku-20240307")["max_tokens"] == 4096


class TestAnswers:
    def test_words_calls_and_usage_are_read(self) -> None:
        usage = {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "cache_creation": {"x": 1},
            "service_tier": "standard",
        }
        call = {"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}, "caller": {"type": "direct"}}
        response = decode({"type": "text", "text": "hi", "citations": None}, call, usage=usage, stop_reason="tool_use")
        assert response.message.text == "hi"
        assert [(c.id, c.name, json.loads(c.arguments)) for c in response.message.tool_calls] == [
            ("c", "add", {"a": 1})
        ]
        assert response.usage == Usage(130, 5, 100, 20)
        assert response.finish == "tool_calls"

    @pytest.mark.parametrize(
        ("reason", "finish"),
        [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("refusal", "content_filter"),
            ("pause_turn", "other"),
            ("new", "other"),
        ],
    )
    def test_stop_reasons_are_known_or_other(self, reason: str, finish: str) -> None:
        assert decode({"type": "text", "text": "x"}, stop_reason=reason).finish == finish

    @pytest.mark.parametrize(
        "opaque",
        [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"type": "web_search_result"}]},
            {"type": "invented_tomorrow", "x": {"y": [1]}},
        ],
    )
    def test_what_only_the_vendor_understands_goes_back_untouched_and_to_it_alone(self, opaque: dict[str, Any]) -> None:
        message = decode(opaque, {"type": "text", "text": "yes"}).message
        assert encode(message)["messages"][0]["content"] == [opaque, {"type": "text", "text": "yes"}]
        other = json.loads(AnthropicMessages("other").encode(ModelRequest(MODEL, (message,)), stream=False))
        assert other["messages"][0]["content"] == [{"type": "text", "text": "yes"}]

    def test_thoughts_without_a_signature_are_not_sent_back(self) -> None:
        message = decode({"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}).message
        assert encode(message)["messages"][0]["content"] == [{"type": "text", "text": "yes"}]

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"content": null}', b'{"content": "x"}'])
    def test_a_malformed_answer_is_a_protocol_error(self, body: bytes) -> None:
        with pytest.raises(ModelProtocolError):
            WIRE.decode(body)

    def test_an_error_in_a_successful_answer_is_that_error(self) -> None:
        with pytest.raises(ModelUnavailable):
            WIRE.decode(b'{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}')


class TestStreams:
    @pytest.mark.parametrize("size", [1, 7, 100_000])
    def test_a_stream_is_the_same_however_it_is_cut(self, size: int) -> None:
        thinking = block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "h"},
            {"type": "thinking_delta", "thinking": "m"},
            {"type": "signature_delta", "signature": "sig"},
        )
        call = block(
            2,
            {"type": "tool_use", "id": "c", "name": "add", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"a"'},
            {"type": "input_json_delta", "partial_json": ":1}"},
        )
        end = END | {"delta": {"stop_reason": "tool_use"}}
        stream = sse(START, {"type": "ping"}, *thinking, *words(1, "Grüße", " 🌍"), *call, end, STOP)
        events = read(WIRE.decoder(), stream, size)
        assert [e.text for e in events if isinstance(e, TextDelta)] == ["Grüße", " 🌍"]
        assert [e.text for e in events if isinstance(e, ReasoningDelta)] == ["h", "m"]
        deltas = [e for e in events if isinstance(e, ToolCallDelta)]
        assert (deltas[0].id, deltas[0].name, "".join(d.arguments for d in deltas)) == ("c", "add", '{"a":1}')
        response = answer(WIRE, stream, size)
        assert (response.usage, response.finish, response.model, response.id) == (
            *(Usage(5, 7), "tool_calls", "claude-x", "m1"),
        )
        assert encode(response.message)["messages"][0]["content"] == [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "text", "text": "Grüße 🌍"},
            {"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}},
        ]

    def test_server_tools_are_put_together_and_kept(self) -> None:
        used = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
        result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
        stream = sse(
            START,
            *block(0, used, {"type": "input_json_delta", "partial_json": '{"q":"x"}'}),
            *block(1, result),
            *words(2, "found"),
            END,
            STOP,
        )
        events = read(WIRE.decoder(), stream)
        message = answer(WIRE, stream).message
        assert not [e for e in events if isinstance(e, ToolCallDelta)]
        assert [json.loads(bytes(p.opaque)) for p in message.parts if isinstance(p, Opaque)] == [
            used | {"input": {"q": "x"}},
            result,
        ]

    def test_redacted_thoughts_are_kept(self) -> None:
        stream = sse(START, *block(0, {"type": "redacted_thinking", "data": "x"}), *words(1, "y"), END, STOP)
        parts = answer(WIRE, stream).message.parts
        assert [type(p) for p in parts] == [Reasoning, Text]

    def test_usage_grows_to_what_the_last_event_says(self) -> None:
        end = END | {"usage": {"output_tokens": 9, "input_tokens": 6, "cache_read_input_tokens": 3, "x": None}}
        assert answer(WIRE, sse(START, *words(0, "x"), end, STOP)).usage == Usage(9, 9, 3)

    def test_a_missing_stop_is_forgiven_after_a_stop_reason(self) -> None:
        assert answer(WIRE, sse(START, *words(0, "x"), END)).message.text == "x"

    @pytest.mark.parametrize("stream", [b"", sse(START), sse(START, *words(0, "half"))])
    def test_a_cut_stream_is_a_protocol_error(self, stream: bytes) -> None:
        with pytest.raises(ModelProtocolError):
            read(WIRE.decoder(), stream)

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            ({"type": "overloaded_error", "message": "x"}, ModelUnavailable),
            ({"type": "rate_limit_error", "message": "x"}, ModelRateLimited),
            ({"type": "invalid_request_error", "message": "prompt is too long: 9 > 5"}, ContextExceeded),
        ],
    )
    def test_an_error_in_the_stream_has_its_class(self, error: dict[str, Any], kind: type[Exception]) -> None:
        with pytest.raises(kind):
            read(WIRE.decoder(), sse(START, *words(0, "half"), {"type": "error", "error": error}))

    def test_deltas_of_unknown_blocks_and_kinds_are_skipped(self) -> None:
        odd = [
            {"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "no"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "new": {"a": 1}}},
            {"type": "invented_tomorrow"},
        ]
        body = words(0, "x")
        stream = sse(START, body[0], body[1], *odd, END, STOP)
        assert answer(WIRE, stream).message.text == "x"

    def test_broken_input_of_a_call_stays_as_it_came(self) -> None:
        call = block(
            0,
            {"type": "tool_use", "id": "c", "name": "add", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"a": '},
        )
        stream = sse(START, *call, END | {"delta": {"stop_reason": "max_tokens"}}, STOP)
        response = answer(WIRE, stream)
        assert (response.message.tool_calls[0].arguments, response.finish) == ('{"a": ', "length")
