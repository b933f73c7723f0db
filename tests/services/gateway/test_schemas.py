"""Bodies as they come: what is read, and what is wrong with the rest."""

import base64
import struct
from collections.abc import Callable

import msgspec
import pytest

from agent_factory.core.message import Media, Message, Text, ToolCall, ToolResult, user
from agent_factory.services.gateway.errors import BadRequest, Unsupported
from agent_factory.services.gateway.schemas.chat import ChatRequest
from agent_factory.services.gateway.schemas.embeddings import EmbeddingRequest, embeddings
from agent_factory.services.gateway.schemas.responses import ResponseRequest
from agent_factory.services.gateway.schemas.wire import read

CHAT = msgspec.json.Decoder(ChatRequest)
RESPONSE = msgspec.json.Decoder(ResponseRequest)
EMBEDDING = msgspec.json.Decoder(EmbeddingRequest)

HELLO = {"model": "agent:a", "messages": [{"role": "user", "content": "hi"}]}


def chat(**more: object) -> ChatRequest:
    request = read(msgspec.json.encode(HELLO | more), CHAT)
    request.check()
    return request


def response(**more: object) -> ResponseRequest:
    request = read(msgspec.json.encode({"model": "agent:a", "input": "hi"} | more), RESPONSE)
    request.check()
    return request


def wholly(make: Callable[..., ChatRequest | ResponseRequest], more: dict[str, object]) -> None:
    """Read all of a request, as an endpoint does."""
    request = make(**more)
    request.said()
    request.client_tools()
    request.output()


def test_fields_that_no_one_knows_are_ignored() -> None:
    assert chat(frequency_penalty=0.5, logit_bias={"1": 2}, brand_new={"deep": [1]}).said() == [user("hi")]


def test_all_roles_and_parts_of_a_chat_are_read() -> None:
    request = chat(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "be kind"}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                    {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,CCCC", "filename": "a.pdf"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "done"},
        ]
    )
    assert request.said() == [
        Message("system", (Text("be kind"),)),
        Message(
            "user",
            (
                Text("look"),
                Media("image/png", data="AAAA"),
                Media("audio/wav", data="BBBB"),
                Media("application/pdf", data="CCCC", name="a.pdf"),
            ),
        ),
        Message("assistant", (ToolCall("c", "f", "{}"),)),
        Message("tool", (ToolResult("c", "", "done"),)),
    ]


def test_settings_hold_only_what_was_asked_for() -> None:
    assert chat().settings() is None
    asked = chat(temperature=0, max_tokens=9, max_completion_tokens=5, stop="END").settings()
    assert asked is not None
    assert asked.model_dump(exclude_unset=True) == {"temperature": 0.0, "max_tokens": 5, "stop": ("END",)}


def test_the_form_of_the_answer_is_a_schema() -> None:
    schema = {"type": "object", "required": ["a"]}
    assert chat(response_format={"type": "text"}).output() is None
    assert chat(response_format={"type": "json_object"}).output() == {"type": "object"}
    named = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    assert chat(response_format=named).output() == schema
    flat = {"format": {"type": "json_schema", "name": "n", "schema": schema}}
    assert response(text=flat).output() == schema


def test_the_callers_own_tools_are_read_in_both_protocols() -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    function = {"name": "weather", "description": "tells", "parameters": parameters}
    assert chat(tools=[{"type": "function", "function": function}]).client_tools() == (
        response(tools=[{"type": "function", **function}]).client_tools()
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", ""),
        (b"{", ""),
        (b"\xff", ""),
        (b'{"model":"\xff","messages":[]}', ""),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", ""),
        (b"[]", "/body"),
        (b"{}", "/model"),
        (b'{"model":7,"messages":[{"role":"user"}]}', "/model"),
        (b'{"model":"a"}', "/messages"),
        (b'{"model":"a","messages":[]}', "/messages"),
        (b'{"model":"a","messages":{}}', "/messages"),
        (b'{"model":"a","messages":[{"content":"x"}]}', "/messages[0].role"),
        (b'{"model":"a","messages":[{"role":"god","content":"x"}]}', "/messages[0].role"),
        (b'{"model":"a","messages":[{"role":"user","content":7}]}', "/messages[0].content"),
        (b'{"model":"a","messages":[{"role":"user"}],"temperature":9}', "/temperature"),
        (b'{"model":"a","messages":[{"role":"user"}],"temperature":"hot"}', "/temperature"),
        (b'{"model":"a","messages":[{"role":"user"}],"temperature":NaN}', ""),
        (b'{"model":"a","messages":[{"role":"user"}],"max_tokens":0}', "/max_tokens"),
        (b'{"model":"a","messages":[{"role":"user"}],"max_tokens":1e400}', "/max_tokens"),
        (b'{"model":"a","messages":[{"role":"user"}],"max_tokens":' + b"9" * 400 + b"}", "/max_tokens"),
        (b'{"model":"a","messages":[{"role":"user"}],"stream":"yes"}', "/stream"),
        (b'{"model":"a","messages":[{"role":"user"}],"metadata":{"a":1}}', "/metadata[...]"),
    ],
)
def test_a_body_that_breaks_the_protocol_is_refused_at_its_field(body: bytes, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(body, CHAT)
    assert (caught.value.errors[0].pointer if caught.value.errors else "") == param


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "/n"),
        ({"n": 0}, "/n"),
        ({"logprobs": True}, "/logprobs"),
        ({"functions": [{"name": "f"}]}, "/functions"),
        ({"modalities": ["audio"]}, "/modalities"),
        ({"tools": [{"type": "web_search"}]}, "/tools[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "/messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "/messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}]},
            "/messages[0].content[0].image_url",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "/messages[0].tool_call_id"),
        ({"response_format": {"type": "json_schema"}}, "/response_format.json_schema"),
    ],
)
def test_what_no_agent_can_honour_is_refused_in_a_chat(more: dict[str, object], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        wholly(chat, more)
    assert caught.value.errors[0].pointer == param


def test_all_items_of_a_response_are_read() -> None:
    request = response(
        instructions="be brief",
        input=[
            {"role": "user", "content": "weather?"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}", "id": "fc_1"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "sunny"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is sunny."}]},
        ],
    )
    assert [m.role for m in request.said()] == ["system", "user", "assistant", "tool", "assistant"]
    assert request.said()[3] == Message("tool", (ToolResult("c", "", "sunny"),))


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"background": True, "store": False}, "/store"),
        ({"background": True, "stream": True}, "/background"),
        ({"previous_response_id": "resp_1", "conversation": "ses_1"}, "/conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "/prompt"),
        ({"tools": [{"type": "web_search"}]}, "/tools[0].type"),
        ({"input": [{"type": "computer_call_output"}]}, "/input[0].type"),
        ({"input": [{"content": "hi"}]}, "/input[0].role"),
        ({"input": [{"type": "function_call"}]}, "/input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "/input[0].content[0].image_url",
        ),
        ({"text": {"format": {"type": "json_schema"}}}, "/text.format.schema"),
    ],
)
def test_what_no_agent_can_honour_is_refused_in_a_response(more: dict[str, object], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        wholly(response, more)
    assert caught.value.errors[0].pointer == param


@pytest.mark.parametrize("texts", [[], [""], [7], [[1, 2]], ["a"] * 2049, [None]])
def test_only_texts_are_embedded(texts: list[object]) -> None:
    request = read(msgspec.json.encode({"model": "m", "input": texts}), EMBEDDING)
    with pytest.raises(BadRequest):
        request.texts()


def test_token_numbers_are_named_as_unsupported() -> None:
    with pytest.raises(Unsupported):
        EmbeddingRequest("m", [1, 2, 3]).texts()


def test_vectors_are_floats_or_base64_of_little_endian_floats() -> None:
    plain = msgspec.json.decode(embeddings("m", [[0.5, -1.0]], 3, "float"))
    assert plain["data"][0]["embedding"] == [0.5, -1.0]
    packed = msgspec.json.decode(embeddings("m", [[0.5, -1.0]], 3, "base64"))
    assert struct.unpack("<2f", base64.b64decode(packed["data"][0]["embedding"])) == (0.5, -1.0)
    assert packed["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
