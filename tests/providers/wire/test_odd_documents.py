"""No document, however odd, makes a wire raise anything but a model error."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.core.model import ModelError
from agent_factory.providers.wire.chat_completions import ChatCompletions
from agent_factory.providers.wire.chat_messages import Dialect
from agent_factory.providers.wire.failures import failure
from agent_factory.providers.wire.messages import AnthropicMessages
from agent_factory.providers.wire.provider import Wire
from agent_factory.providers.wire.responses import Responses
from tests.providers.wire.streams import read, sse

WIRES: list[Wire] = [ChatCompletions(Dialect("p")), AnthropicMessages("p"), Responses("p")]
KEYS = st.sampled_from(
    [
        *(
            "choices",
            "message",
            "delta",
            "content",
            "tool_calls",
            "function",
            "name",
            "arguments",
            "id",
            "index",
            "type",
        ),
        *("text", "usage", "prompt_tokens", "error", "finish_reason", "reasoning", "reasoning_details", "refusal"),
        *("content_block", "thinking", "signature", "partial_json", "stop_reason", "input", "input_tokens", "x_groq"),
        *(
            "message_start",
            "code",
            "status",
            "citation",
            "prompt_tokens_details",
            "response",
            "output",
            "item",
            "summary",
        ),
        *("output_index", "call_id"),
    ]
)
WORDS = st.sampled_from(
    [
        *(
            "text",
            "tool_use",
            "thinking",
            "message_start",
            "content_block_start",
            "content_block_delta",
            "message_delta",
        ),
        *(
            "response.completed",
            "response.output_item.added",
            "response.output_item.done",
            "function_call",
            "reasoning",
        ),
        *("response.function_call_arguments.delta", "response.output_text.delta", "completed", "message"),
        *("message_stop", "error", "text_delta", "input_json_delta", "stop", "x", "", "{", "server_tool_use"),
    ]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False), WORDS
)
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)
OBJECTS = st.dictionaries(KEYS, DOCUMENTS, max_size=6)


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=300)
@given(document=DOCUMENTS | OBJECTS)
def test_any_whole_answer(wire: Wire, document: Any) -> None:
    with contextlib.suppress(ModelError):
        wire.decode(json.dumps(document).encode())


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=300)
@given(documents=st.lists(OBJECTS, max_size=5))
def test_any_stream(wire: Wire, documents: list[dict[str, Any]]) -> None:
    with contextlib.suppress(ModelError):
        read(wire.decoder(), sse(*documents))


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=300)
@given(deltas=st.lists(OBJECTS, max_size=5))
def test_any_deltas_in_a_stream(wire: Wire, deltas: list[dict[str, Any]]) -> None:
    chat = [{"choices": [{"index": 0, "delta": d}]} for d in deltas]
    blocks = [{"type": "content_block_start", "index": 0, "content_block": d} for d in deltas[:1]]
    pieces = [{"type": "content_block_delta", "index": 0, "delta": d} for d in deltas]
    for stream in (chat, [*blocks, *pieces, {"type": "message_stop"}]):
        with contextlib.suppress(ModelError):
            read(wire.decoder(), sse(*stream))


@given(st.integers(100, 999), st.binary(max_size=50) | DOCUMENTS.map(lambda d: json.dumps(d).encode()))
def test_any_refusal(status: int, body: bytes) -> None:
    error = failure("p", status, {}, body)
    assert error.detail
