"""Both wires against the real llama.cpp server: its words are noise, its protocol is not (S116)."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from agent_factory.core.agent import Agent
from agent_factory.core.message import Message, ToolResult
from agent_factory.core.model import (
    ContextExceeded,
    Done,
    ModelProvider,
    ModelRejected,
    ModelSettings,
    OutputSchema,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
)
from agent_factory.core.schema import Schema
from agent_factory.kit.catalog import Catalog
from agent_factory.local import Resources, run
from agent_factory.providers import Access
from agent_factory.providers.endpoint import plugin
from agent_factory.runtime.models import Endpoint, Models, ModelsSettings
from agent_factory.security.egress import Egress, EgressSettings
from tests.providers.asking import ask

ADD = ToolSpec(
    "add",
    "Adds two numbers",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"enum": [1, 2]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
)
CALLING = ModelSettings(tool_choice="required", max_tokens=900, parallel_tool_calls=False)


@pytest.fixture(scope="module")
async def egress() -> AsyncGenerator[Egress, None]:
    """A client that keeps no idle connection: the server closes them when it likes, and a bare call is made once."""
    client = Egress(EgressSettings(keepalive=0))
    yield client
    await client.close()


@pytest.fixture(params=["openai", "anthropic", "responses"])
def llama(request: pytest.FixtureRequest, llama_url: str, egress: Egress) -> ModelProvider:
    """The server over one of the wires."""
    return plugin.build(Access("llama", f"{llama_url}/v1", None, 8192, request.param), egress)


@pytest.fixture
def chat(llama_url: str, egress: Egress) -> ModelProvider:
    """The server over chat completions."""
    return plugin.build(Access("llama", f"{llama_url}/v1"), egress)


async def test_words_and_usage_come_whole_and_streamed(llama: ModelProvider) -> None:
    settings = ModelSettings(max_tokens=40, seed=1, temperature=0.5)
    whole = await llama.inference(ask("bytes", settings=settings))
    events = [e async for e in llama.stream(ask("bytes", settings=settings))]
    last = events[-1]
    assert isinstance(last, Done)
    for response in (whole, last.response):
        assert response.message.text
        assert response.usage.input_tokens > 0
        assert 0 < response.usage.output_tokens <= 40
        assert response.finish in ("stop", "length")
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == last.response.message.text


async def test_a_tool_call_fits_its_schema_and_its_result_goes_back(llama: ModelProvider) -> None:
    asked = ask("bytes", "Add 1 and 2", tools=(ADD,), settings=CALLING)
    first = await llama.inference(asked)
    calls = first.message.tool_calls
    assert calls
    assert first.finish in ("tool_calls", "length")
    for call in calls:
        assert call.name == "add"
        assert call.id
        assert Schema(ADD.parameters).faults(json.loads(call.arguments)) == []
    results = Message("tool", tuple(ToolResult(c.id, c.name, "3") for c in calls))
    history = (*asked.messages, first.message, results)
    settings = ModelSettings(max_tokens=20, tool_choice="none")
    second = await llama.inference(ask("bytes", messages=history, tools=(ADD,), settings=settings))
    assert second.usage.input_tokens > first.usage.input_tokens


async def test_a_streamed_tool_call_is_the_one_at_its_end(llama: ModelProvider) -> None:
    events = [e async for e in llama.stream(ask("bytes", "Add 1 and 2", tools=(ADD,), settings=CALLING))]
    last = events[-1]
    assert isinstance(last, Done)
    deltas = [e for e in events if isinstance(e, ToolCallDelta)]
    assert deltas[0].name == "add"
    for index, call in enumerate(last.response.message.tool_calls):
        told = "".join(d.arguments for d in deltas if d.index == index)
        assert told == call.arguments
        assert Schema(ADD.parameters).faults(json.loads(told)) == []


@pytest.mark.parametrize("streams", [True, False])
async def test_an_answer_meets_its_json_schema(streams: bool, chat: ModelProvider) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}, "n": {"type": "integer"}, "ok": {"type": "boolean"}},
        "required": ["colour", "n", "ok"],
        "additionalProperties": False,
    }
    request = ask("bytes", output=OutputSchema("answer", schema), settings=ModelSettings(max_tokens=900))
    if streams:
        last = [e async for e in chat.stream(request)][-1]
        assert isinstance(last, Done)
        text = last.response.message.text
    else:
        text = (await chat.inference(request)).message.text
    assert Schema(schema).faults(json.loads(text)) == []


async def test_a_conversation_beyond_the_window_is_told_apart(llama: ModelProvider) -> None:
    with pytest.raises(ContextExceeded):
        await llama.inference(ask("bytes", "word " * 4000))
    with pytest.raises(ContextExceeded):
        async for _ in llama.stream(ask("bytes", "word " * 4000)):
            pass


async def test_a_broken_request_is_rejected(chat: ModelProvider) -> None:
    broken = ToolSpec("add", "", {"type": "object", "properties": {"a": {"type": "nonsense"}}, "required": ["a"]})
    with pytest.raises(ModelRejected):
        await chat.inference(ask("bytes", tools=(broken,), settings=CALLING))


async def test_a_stream_that_is_left_frees_the_server(llama: ModelProvider) -> None:
    long = ask("bytes", settings=ModelSettings(max_tokens=1000, extra={"ignore_eos": True}))
    for _ in range(5):  # more than the server can serve at once
        async with aclosing(llama.stream(long)) as events:
            async for _ in events:
                break
    async with asyncio.timeout(10):
        assert (await llama.inference(ask("bytes", settings=ModelSettings(max_tokens=5)))).message.parts


async def test_the_model_is_listed(chat: ModelProvider) -> None:
    assert len(await chat.get_available_models()) == 1


async def test_a_whole_turn_runs_on_it(llama_url: str, egress: Egress) -> None:
    models = Models(ModelsSettings(endpoints={"llama": Endpoint(url=f"{llama_url}/v1", context_window=8192)}), egress)
    resources = Resources(models, Catalog("agent_factory.tools"))
    agent = Agent(name="noise", model="llama:bytes", settings=ModelSettings(max_tokens=60))
    result = await run(agent, "Say something.", resources=resources)
    assert result.usage.output_tokens > 0
    assert result.messages[-1].role == "assistant"
