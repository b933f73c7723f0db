"""Chat completions as servers really speak it (S56, S115, S124)."""

import json
from typing import Any

import msgspec
import pytest

from agent_factory.core.message import Media, Message, Opaque, Reasoning, Text, ToolCall, ToolResult, assistant, user
from agent_factory.core.model import (
    ModelAuthFailed,
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
from agent_factory.providers.wire.chat_completions import ChatCompletions
from agent_factory.providers.wire.chat_messages import Dialect, fits_strict
from agent_factory.providers.wire.dialects import dialect_of
from tests.providers.wire.streams import answer, read, sse

WIRE = ChatCompletions(Dialect("p"))
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
CALLED = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = ToolSpec("add", "Adds", SCHEMA)


def delta(**fields: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def called(**fields: Any) -> dict[str, Any]:
    return delta(tool_calls=[fields])


def whole(**message: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()


def encode(request: ModelRequest, wire: ChatCompletions = WIRE, *, stream: bool = False) -> dict[str, Any]:
    return json.loads(wire.encode(request, stream=stream))


class TestRequests:
    def test_a_conversation_is_written_in_its_words(self) -> None:
        call = ToolCall("c1", "add", '{"a":1}')
        request = ModelRequest(
            "m",
            (user("hi"), Message("assistant", (Text("sure"), call)), Message("tool", (ToolResult("c1", "add", "2"),))),
            instructions="Be brief.",
            tools=(TOOL,),
        )
        assert encode(request) == {
            "model": "m",
            "stream": False,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": "sure",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "2"},
            ],
            "tools": [{"type": "function", "function": {"name": "add", "description": "Adds", "parameters": SCHEMA}}],
        }

    def test_a_stream_asks_for_its_usage(self) -> None:
        body = encode(ModelRequest("m", (user("x"),)), stream=True)
        assert body["stream_options"] == {"include_usage": True}

    def test_tools_are_encoded_once_and_right_for_every_list(self) -> None:
        wire = ChatCompletions(Dialect("p"))
        tools = (TOOL,)
        for _ in range(2):
            assert encode(ModelRequest("m", (user("x"),), tools=tools), wire)["tools"][0]["function"]["name"] == "add"
        for number in range(600):
            other = (ToolSpec(f"t{number}", "", SCHEMA),)
            body = encode(ModelRequest("m", (user("x"),), tools=other), wire)
            assert body["tools"][0]["function"]["name"] == f"t{number}"

    @pytest.mark.parametrize("model", ["o3-mini", "gpt-5", "gpt-5.1-mini", "openai/o1", "gpt-6"])
    def test_reasoning_models_take_no_sampling_and_their_own_limit(self, model: str) -> None:
        settings = ModelSettings(temperature=0.5, top_p=0.9, max_tokens=10, stop=("x",), reasoning_effort="low")
        body = encode(ModelRequest(model, (user("x"),), settings=settings))
        assert body["max_completion_tokens"] == 10
        assert body["reasoning_effort"] == "low"
        assert body.keys() & {"temperature", "top_p", "max_tokens", "stop"} == set()

    @pytest.mark.parametrize("model", ["gpt-4o", "gpt-5-chat-latest", "llama-3", "oasis-1", "qwen"])
    def test_other_models_take_them(self, model: str) -> None:
        settings = ModelSettings(temperature=0.5, top_p=0.9, max_tokens=10, stop=("x",), seed=3)
        body = encode(ModelRequest(model, (user("x"),), settings=settings))
        assert (body["temperature"], body["top_p"], body["max_tokens"], body["stop"], body["seed"]) == (
            *(0.5, 0.9, 10, ["x"], 3),
        )

    def test_openai_takes_the_new_limit_everywhere(self) -> None:
        wire = ChatCompletions(dialect_of("openai", "https://api.openai.com/v1"))
        body = encode(ModelRequest("gpt-4o", (user("x"),), settings=ModelSettings(max_tokens=10)), wire)
        assert body["max_completion_tokens"] == 10

    @pytest.mark.parametrize(
        ("choice", "sent"),
        [
            ("auto", "auto"),
            ("none", "none"),
            ("required", "required"),
            ("add", {"type": "function", "function": {"name": "add"}}),
        ],
    )
    def test_a_tool_choice_is_a_word_or_a_name(self, choice: str, sent: object) -> None:
        settings = ModelSettings(tool_choice=choice, parallel_tool_calls=False)
        body = encode(ModelRequest("m", (user("x"),), tools=(TOOL,), settings=settings))
        assert (body["tool_choice"], body["parallel_tool_calls"]) == (sent, False)

    def test_extra_settings_go_through(self) -> None:
        body = encode(ModelRequest("m", (user("x"),), settings=ModelSettings(extra={"top_k": 3, "stream": True})))
        assert (body["top_k"], body["stream"]) == (3, True)

    def test_an_output_schema_becomes_a_response_format(self) -> None:
        body = encode(ModelRequest("m", (user("x"),), output=OutputSchema("answer", SCHEMA)))
        assert body["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        }

    def test_openai_is_strict_only_where_its_strictness_can_hold(self) -> None:
        wire = ChatCompletions(Dialect("openai", strict=True))
        loose = {"type": "object", "properties": {"a": {"type": "integer"}}}
        body = encode(ModelRequest("m", (user("x"),), output=OutputSchema("answer", loose)), wire)
        assert body["response_format"]["json_schema"]["strict"] is False
        nested = SCHEMA | {"properties": {"a": {"anyOf": [{"type": "null"}, loose]}}}
        assert fits_strict(SCHEMA)
        assert not fits_strict(nested)

    def test_media_take_the_form_of_their_kind(self) -> None:
        parts = (
            Text("look"),
            Media("image/png", data="aGk="),
            Media("image/*", url="https://x/y.png"),
            Media("audio/mpeg", data="aGk="),
            Media("application/pdf", data="aGk=", name="a.pdf"),
            Media("video/mp4", url="https://x/v.mp4"),
        )
        content = encode(ModelRequest("m", (Message("user", parts),)))["messages"][0]["content"]
        assert content == [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
            {"type": "video_url", "video_url": {"url": "https://x/v.mp4"}},
        ]

    def test_a_document_by_url_is_refused_where_no_server_takes_it(self) -> None:
        document = Message("user", (Media("application/pdf", url="https://x/y.pdf"),))
        with pytest.raises(ModelRejected, match="only as data"):
            WIRE.encode(ModelRequest("m", (document,)), stream=False)

    def test_mistral_has_its_own_words(self) -> None:
        wire = ChatCompletions(dialect_of("mistral", "https://api.mistral.ai/v1"))
        request = ModelRequest(
            "m",
            (
                Message("tool", (ToolResult("c", "add", "2"),)),
                Message("user", (Media("application/pdf", url="https://x/y.pdf"),)),
            ),
            tools=(TOOL,),
            settings=ModelSettings(tool_choice="required"),
        )
        body = encode(request, wire)
        assert body["tool_choice"] == "any"
        assert body["messages"][1:] == [
            {"role": "assistant", "content": "OK"},
            {"role": "user", "content": [{"type": "document_url", "document_url": "https://x/y.pdf"}]},
        ]

    def test_what_a_tool_shows_follows_its_result(self) -> None:
        shown = ToolResult("c", "draw", "done", media=(Media("image/png", data="aGk="),))
        sent = encode(ModelRequest("m", (Message("tool", (shown, ToolResult("d", "add", "2"))),)))["messages"]
        assert [m["role"] for m in sent] == ["tool", "tool", "user"]
        assert sent[2]["content"][0]["text"] == "From the tool draw:"

    def test_what_another_provider_thought_is_not_sent(self) -> None:
        foreign = Message("assistant", (Reasoning("hm", "other"), Opaque("other", msgspec.Raw(b"{}")), Text("yes")))
        assert encode(ModelRequest("m", (foreign,)))["messages"] == [{"role": "assistant", "content": "yes"}]

    def test_an_empty_answer_stays_a_message(self) -> None:
        assert encode(ModelRequest("m", (Message("assistant", ()),)))["messages"][0]["content"] == ""


class TestAnswers:
    def test_words_usage_and_names_are_read(self) -> None:
        body = json.dumps(
            {
                "id": "r1",
                "model": "gpt-4o-2024",
                "unknown": {"x": [1]},
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "hi", "annotations": []},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "total_tokens": 15,
                    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": None},
                    "completion_tokens_details": {"reasoning_tokens": 2},
                },
            }
        ).encode()
        response = WIRE.decode(body)
        assert response.message == assistant("hi")
        assert response.usage == Usage(10, 5, 4, 0, 2)
        assert (response.finish, response.model, response.id) == ("stop", "gpt-4o-2024", "r1")

    def test_thoughts_counted_apart_are_counted_in(self) -> None:
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "reasoning_tokens": 7, "total_tokens": 10}
        body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage}).encode()
        assert WIRE.decode(body).usage == Usage(1, 9, 0, 0, 7)

    @pytest.mark.parametrize("odd", [None, "many", -1, True, {"a": 1}, 1e400, [1]])
    def test_odd_usage_is_no_usage(self, odd: object) -> None:
        body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": odd}})
        assert WIRE.decode(body.replace("Infinity", "1e12").encode()).usage.input_tokens == 0

    def test_content_may_be_a_list_with_thoughts(self) -> None:
        content = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}]
        message = WIRE.decode(whole(content=content)).message
        assert message.text == "yes"
        assert [p.text for p in message.parts if isinstance(p, Reasoning)] == ["hm"]

    def test_arguments_may_be_an_object(self) -> None:
        response = WIRE.decode(whole(tool_calls=[{"id": "c", "function": {"name": "add", "arguments": {"a": 1}}}]))
        assert [json.loads(c.arguments) for c in response.message.tool_calls] == [{"a": 1}]
        assert response.finish == "tool_calls"

    @pytest.mark.parametrize("arguments", [None, "", " "])
    def test_no_arguments_are_an_empty_object(self, arguments: str | None) -> None:
        response = WIRE.decode(whole(tool_calls=[{"function": {"name": "now", "arguments": arguments}}]))
        call = response.message.tool_calls[0]
        assert call.arguments == "{}"
        assert call.id.startswith("call_")

    @pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
    def test_thoughts_go_back_under_the_name_they_came_with(self, field: str) -> None:
        message = WIRE.decode(whole(**{field: "hm", "content": "yes"})).message
        sent = encode(ModelRequest("m", (message,)))["messages"][0]
        assert sent == {"role": "assistant", "content": "yes", field: "hm"}

    def test_reasoning_details_go_back_untouched(self) -> None:
        details = [{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}]
        message = WIRE.decode(whole(reasoning="hm", reasoning_details=details, content="yes")).message
        sent = encode(ModelRequest("m", (message,)))["messages"][0]
        assert sent == {"role": "assistant", "content": "yes", "reasoning_details": details}

    def test_what_a_call_carries_besides_goes_back_to_its_own_provider(self) -> None:
        extra = {"google": {"thought_signature": "s"}}
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": extra}
        message = WIRE.decode(whole(tool_calls=[call])).message
        assert encode(ModelRequest("m", (message,)))["messages"][0]["tool_calls"][0]["extra_content"] == extra
        other = encode(ModelRequest("m", (message,)), ChatCompletions(Dialect("other")))
        assert "extra_content" not in other["messages"][0]["tool_calls"][0]

    def test_a_refusal_is_a_filtered_answer(self) -> None:
        response = WIRE.decode(whole(content=None, refusal="I cannot."))
        assert (response.message.text, response.finish) == ("I cannot.", "content_filter")

    @pytest.mark.parametrize(
        ("reason", "finish"),
        [
            ("stop", "stop"),
            ("length", "length"),
            ("content_filter", "content_filter"),
            ("strange", "other"),
            (None, "stop"),
        ],
    )
    def test_finish_reasons_are_known_or_other(self, reason: str | None, finish: str) -> None:
        body = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": reason}]}).encode()
        assert WIRE.decode(body).finish == finish

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"{}", b'{"choices": []}', b'{"choices": null}']
    )
    def test_a_malformed_answer_is_a_protocol_error(self, body: bytes) -> None:
        with pytest.raises(ModelProtocolError):
            WIRE.decode(body)

    @pytest.mark.parametrize(
        "message", [None, [], {"content": 5}, {"tool_calls": [None, 3, {}]}, {"content": [None, 1]}]
    )
    def test_an_odd_message_is_read_as_far_as_it_goes(self, message: object) -> None:
        response = WIRE.decode(json.dumps({"choices": [{"message": message}]}).encode())
        assert response.message.text == ""

    def test_an_error_in_a_successful_answer_is_that_error(self) -> None:
        with pytest.raises(ModelRateLimited, match="slow down"):
            WIRE.decode(json.dumps({"error": {"message": "slow down", "code": 429}}).encode())


class TestStreams:
    @pytest.mark.parametrize("size", [1, 3, 10, 100_000])
    def test_a_stream_is_the_same_however_it_is_cut(self, size: int) -> None:
        stream = sse(
            delta(role="assistant", content=""),
            delta(reasoning_content="hm"),
            delta(content="Grüße, "),
            delta(content="Welt 🌍"),
            STOP | {"usage": None},
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
            "[DONE]",
        )
        events = read(WIRE.decoder(), stream, size)
        assert [e.text for e in events if isinstance(e, TextDelta)] == ["Grüße, ", "Welt 🌍"]
        assert [e.text for e in events if isinstance(e, ReasoningDelta)] == ["hm"]
        response = answer(WIRE, stream, size)
        assert response.message.text == "Grüße, Welt 🌍"
        assert (response.usage, response.model, response.id) == (Usage(3, 4), "m", "c1")

    @pytest.mark.parametrize(
        "pieces",
        [
            [  # as OpenAI does
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
                {"index": 0, "function": {"arguments": '{"x"'}},
                {"index": 0, "function": {"arguments": ":1}"}},
                {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}},
            ],
            [  # without an index
                {"id": "a", "function": {"name": "f", "arguments": '{"x"'}},
                {"function": {"arguments": ":1}"}},
                {"id": "b", "function": {"name": "g", "arguments": "{}"}},
            ],
            [  # the id with every piece
                {"id": "a", "function": {"name": "f", "arguments": '{"x"'}},
                {"id": "a", "function": {"arguments": ":1}"}},
                {"id": "b", "function": {"name": "g", "arguments": "{}"}},
            ],
            [  # id and name with every piece
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": ":1}"}},
                {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}},
            ],
            [  # every call at the index 0
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}},
            ],
            [  # a fresh id with every piece
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
                {"index": 0, "id": "z", "function": {"name": None, "arguments": ":1}"}},
                {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}},
            ],
            [  # objects
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
                {"index": 1, "id": "b", "function": {"name": "g", "arguments": {}}},
            ],
            [  # the name after the id
                {"index": 0, "id": "a", "function": {"arguments": ""}},
                {"index": 0, "function": {"name": "f", "arguments": '{"x":1}'}},
                {"index": 1, "id": "b", "function": {"name": "g"}},
            ],
        ],
    )
    def test_tool_calls_come_in_every_shape(self, pieces: list[dict[str, Any]]) -> None:
        stream = sse(*(called(**p) for p in pieces), CALLED, "[DONE]")
        calls = answer(WIRE, stream).message.tool_calls
        assert [(c.id, c.name, json.loads(c.arguments)) for c in calls] == [("a", "f", {"x": 1}), ("b", "g", {})]
        deltas = [e for e in read(WIRE.decoder(), stream) if isinstance(e, ToolCallDelta)]
        told = {i: "".join(d.arguments for d in deltas if d.index == i) or "{}" for i in (0, 1)}
        assert {i: json.loads(t) for i, t in told.items()} == {0: {"x": 1}, 1: {}}
        assert [d.name for d in deltas if d.name] == ["f", "g"]

    def test_thoughts_between_tags_are_thoughts(self) -> None:
        stream = sse(*(delta(content=c) for c in ("<th", "ink>", "h", "m</thi", "nk>", "yes <think>")), STOP, "[DONE]")
        message = answer(WIRE, stream).message
        assert message.text == "yes <think>"
        assert [p.text for p in message.parts if isinstance(p, Reasoning)] == ["hm"]
        assert encode(ModelRequest("m", (message,)))["messages"][0] == {"role": "assistant", "content": "yes <think>"}

    @pytest.mark.parametrize("words", ["<", "<thin", " <b>bold</b>", "<thinking>", "2 < 3"])
    def test_what_only_looks_like_a_tag_is_words(self, words: str) -> None:
        stream = sse(*(delta(content=c) for c in words), STOP, "[DONE]")
        assert answer(WIRE, stream).message.text == words
        assert WIRE.decode(whole(content=words)).message.text == words

    def test_thoughts_without_an_end_leave_no_words(self) -> None:
        message = answer(WIRE, sse(delta(content="<think>hm"), STOP, "[DONE]")).message
        assert (message.text, len(message.parts)) == ("", 1)

    def test_thoughts_under_two_names_are_told_once(self) -> None:
        stream = sse(delta(reasoning="hm", reasoning_content="hm"), delta(content="x"), STOP, "[DONE]")
        thoughts = [e.text for e in read(WIRE.decoder(), stream) if isinstance(e, ReasoningDelta)]
        assert thoughts == ["hm"]

    def test_streamed_reasoning_details_are_joined(self) -> None:
        pieces = [
            {"type": "reasoning.text", "index": 0, "text": "a"},
            {"type": "reasoning.text", "index": 0, "text": "b"},
            {"type": "reasoning.text", "index": 0, "signature": "s"},
            {"type": "reasoning.encrypted", "index": 1, "data": "x"},
        ]
        stream = sse(*(delta(reasoning_details=[p]) for p in pieces), delta(content="yes"), STOP, "[DONE]")
        sent = encode(ModelRequest("m", (answer(WIRE, stream).message,)))["messages"][0]
        assert sent["reasoning_details"] == [
            {"type": "reasoning.text", "index": 0, "text": "ab", "signature": "s"},
            {"type": "reasoning.encrypted", "index": 1, "data": "x"},
        ]

    def test_a_missing_done_is_forgiven_after_a_finish_reason(self) -> None:
        assert answer(WIRE, sse(delta(content="x"), STOP)).message.text == "x"

    def test_a_missing_blank_line_at_the_end_is_forgiven(self) -> None:
        assert answer(WIRE, sse(delta(content="x"), STOP, "[DONE]").rstrip(b"\n")).message.text == "x"

    @pytest.mark.parametrize(
        "stream", [b"", b"\n\n", sse(delta(content="half")), b"HTTP error", b": only comments\n\n"]
    )
    def test_a_cut_stream_is_a_protocol_error(self, stream: bytes) -> None:
        with pytest.raises(ModelProtocolError):
            read(WIRE.decoder(), stream)

    @pytest.mark.parametrize("chunk", ['{"choices": [{', "null", "[]", "5"])
    def test_a_broken_chunk_is_a_protocol_error(self, chunk: str) -> None:
        with pytest.raises(ModelProtocolError):
            read(WIRE.decoder(), sse(delta(content="x"), chunk))

    @pytest.mark.parametrize(
        "odd", [{"choices": None}, {"choices": []}, {"choices": [None]}, {"choices": [{}]}, {"x": 1}]
    )
    def test_chunks_without_content_are_skipped(self, odd: dict[str, Any]) -> None:
        assert answer(WIRE, sse(odd, delta(content="x"), odd, STOP, "[DONE]")).message.text == "x"

    def test_other_choices_are_not_mixed_in(self) -> None:
        other = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": None}]}
        assert answer(WIRE, sse(delta(content="x"), other, STOP, "[DONE]")).message.text == "x"

    def test_nothing_after_done_counts(self) -> None:
        assert answer(WIRE, sse(delta(content="x"), STOP, "[DONE]", delta(content="y"), "junk")).message.text == "x"

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            ({"message": "x", "code": 429}, ModelRateLimited),
            ({"message": "x", "code": "502"}, ModelUnavailable),
            ({"message": "x", "type": "server_error"}, ModelUnavailable),
            ({"message": "x", "type": "invalid_request_error"}, ModelRejected),
            ({"message": "x", "type": "authentication_error"}, ModelAuthFailed),
            ("just words", ModelUnavailable),
        ],
    )
    def test_an_error_in_the_stream_has_its_class(self, error: object, kind: type[Exception]) -> None:
        for where in ({"error": error}, {"choices": [{"index": 0, "delta": {}, "error": error}]}):
            with pytest.raises(kind):
                read(WIRE.decoder(), sse(delta(content="half"), where))

    def test_usage_in_another_place_is_found(self) -> None:
        stream = sse(
            delta(content="x"), STOP | {"x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}}, "[DONE]"
        )
        assert answer(WIRE, stream).usage == Usage(1, 2)

    def test_a_flood_of_calls_or_arguments_is_refused(self) -> None:
        calls = sse(*(called(index=i, id=f"c{i}", function={"name": "f"}) for i in range(300)))
        long = called(index=0, id="a", function={"name": "f", "arguments": "x" * 1_000_000})
        for stream in (calls, sse(*([long] * 5))):
            with pytest.raises(ModelProtocolError):
                read(WIRE.decoder(), stream)
