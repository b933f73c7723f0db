"""Streams of both protocols, read back with the types of the `openai` package (S56)."""

from typing import Any

import msgspec
import pytest
from openai import omit
from openai._models import validate_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from agent_factory.api.problems import openai_shape
from agent_factory.core.event import ModelFinished, TextPiece, ToolFinished, ToolStarted, TurnCompleted
from agent_factory.core.message import Message, Text, ToolCall, assistant
from agent_factory.core.model import ModelUnavailable, Usage
from agent_factory.services.gateway.schemas.chat import ChatStream, completion
from agent_factory.services.gateway.schemas.response_stream import ResponseStream
from agent_factory.services.gateway.schemas.responses import Frame, output_items

EVENT: Any = ResponseStreamEvent
USAGE = Usage(input_tokens=7, output_tokens=5, cached_tokens=2, reasoning_tokens=1)
CALL = Message("assistant", (Text("Let me see."), ToolCall("c1", "calculator", "{}")))
TURN = (
    TextPiece("Let me"),
    TextPiece(" see."),
    ModelFinished("model/0", CALL, USAGE, "m", "p"),
    ToolStarted("tool/0/0", "c1", "calculator", "{}"),
    ToolFinished("tool/0/0", "c1", "calculator", "42"),
    TextPiece('It is "42" \n'),
    TextPiece("√"),
    ModelFinished("model/1", assistant('It is "42" \n√'), USAGE, "m", "p"),
    TurnCompleted('It is "42" \n√', (CALL, assistant('It is "42" \n√')), USAGE),
)
CLIENT_CALL = Message("assistant", (ToolCall("c1", "weather", '{"city":"Rome"}'),))
CLIENT_TURN = (
    ModelFinished("model/0", CLIENT_CALL, USAGE, "m", "p"),
    TurnCompleted("", (CLIENT_CALL,), USAGE, finish="tool_calls"),
)


def data(raw: bytes) -> list[Any]:
    """Read the data lines of a stream, the closing mark as it is."""
    assert raw.endswith(b"\n\n")
    lines = [line for frame in raw.decode().split("\n\n")[:-1] for line in frame.split("\n")]
    return [
        line[6:] if line == "data: [DONE]" else msgspec.json.decode(line[6:]) for line in lines if line[:5] == "data:"
    ]


def chat_stream(*events: Any, usage: bool = False) -> list[Any]:
    stream = ChatStream("chatcmpl-1", 1700000000, "agent:a", usage=usage)
    return data(stream.open() + b"".join(stream.feed(event) for event in events))


def response_stream(*events: Any) -> list[dict[str, Any]]:
    stream = ResponseStream(Frame(id="resp_1", created=1700000000, model="agent:a"))
    return data(stream.open() + b"".join(stream.feed(event) for event in events))


def test_a_chat_streams_its_words_in_chunks_that_openai_knows_and_ends_with_done() -> None:
    *chunks, done = chat_stream(*TURN)
    read = [validate_type(type_=ChatCompletionChunk, value=chunk) for chunk in chunks]
    assert done == "[DONE]"
    assert read[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in read) == 'Let me see.It is "42" \n√'
    assert [c.choices[0].finish_reason for c in read if c.choices[0].finish_reason] == ["stop"]
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_comes_in_a_last_chunk_without_choices_and_is_null_before() -> None:
    *chunks, last, _ = chat_stream(*TURN, usage=True)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    usage = validate_type(type_=CompletionUsage, value=last["usage"])
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 5, 12)


def test_words_that_were_not_streamed_come_with_the_end() -> None:
    *chunks, _ = chat_stream(TurnCompleted("all at once", (assistant("all at once"),), USAGE))
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks) == "all at once"


def test_a_chat_hands_the_callers_own_tools_over() -> None:
    *chunks, _ = chat_stream(*CLIENT_TURN)
    read = [validate_type(type_=ChatCompletionChunk, value=chunk) for chunk in chunks]
    calls = [call for c in read for call in c.choices[0].delta.tool_calls or []]
    assert [(c.index, c.id, c.function and c.function.arguments) for c in calls] == [(0, "c1", '{"city":"Rome"}')]
    assert read[-1].choices[0].finish_reason == "tool_calls"


def test_the_whole_completion_is_one_that_openai_knows() -> None:
    end = TURN[-1]
    assert isinstance(end, TurnCompleted)
    whole = validate_type(
        type_=ChatCompletion, value=msgspec.json.decode(completion("chatcmpl-1", 1700000000, "agent:a", end))
    )
    assert whole.choices[0].message.content == 'It is "42" \n√'
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.prompt_tokens_details is not None
    assert whole.usage.prompt_tokens_details.cached_tokens == 2


def test_a_response_streams_its_events_in_the_order_of_the_protocol() -> None:
    events = response_stream(*TURN)
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    item = [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    assert [e["type"] for e in events] == [
        "response.created",
        "response.in_progress",
        *item,
        *item,
        "response.completed",
    ]


@pytest.mark.parametrize("turn", [TURN, CLIENT_TURN, (TURN[-1],)], ids=["words", "own tools", "all at once"])
def test_every_event_is_one_that_openai_knows_and_accumulates(turn: tuple[Any, ...]) -> None:
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    for event in response_stream(*turn):
        state.handle_event(validate_type(type_=EVENT, value=event))
    assert state._completed_response is not None
    assert state._completed_response.status == "completed"


def test_the_stream_ends_with_the_same_items_that_are_fetched_later() -> None:
    end = TURN[-1]
    assert isinstance(end, TurnCompleted)
    streamed = response_stream(*TURN)[-1]["response"]
    assert streamed["output"] == output_items("resp_1", end.messages, frozenset())
    assert validate_type(type_=Response, value=streamed).output_text == 'Let me see.It is "42" \n√'


def test_the_calls_of_the_agents_own_tools_are_not_shown_and_the_callers_are() -> None:
    assert output_items("resp_1", (CALL,), frozenset())[-1]["type"] == "message"
    shown = output_items("resp_1", (CLIENT_CALL,), frozenset({"weather"}))
    assert [(i["type"], i["call_id"], i["arguments"]) for i in shown] == [("function_call", "c1", '{"city":"Rome"}')]
    assert response_stream(*CLIENT_TURN)[-1]["response"]["output"] == shown


def test_an_answer_that_was_cut_is_incomplete() -> None:
    last = response_stream(TextPiece("It is"), TurnCompleted("It is", (assistant("It is"),), USAGE, finish="length"))[
        -1
    ]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_response_that_fails_closes_what_is_open_and_ends_with_an_error_event() -> None:
    stream = ResponseStream(Frame(id="resp_1", created=1700000000, model="agent:a"))
    events = data(
        stream.open() + stream.feed(TextPiece("It")) + stream.fail(openai_shape(ModelUnavailable("It is down.")))
    )
    assert [e["type"] for e in events][-5:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.failed",
        "error",
    ]
    failed = events[-2]["response"]
    assert failed["status"] == "failed"
    assert failed["error"] == {"code": "model_unavailable", "message": "It is down."}
    assert failed["output"][0]["status"] == "incomplete"
    assert events[-1]["error"]["message"] == "It is down."
