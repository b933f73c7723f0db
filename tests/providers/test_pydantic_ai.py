"""The adapter to pydantic-ai, over its real OpenAI client and its own test models (S115)."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider

from agent_factory.core.message import Media, Message, Reasoning, Text, ToolResult, assistant, user
from agent_factory.core.model import (
    ContextExceeded,
    Done,
    ModelAuthFailed,
    ModelError,
    ModelProtocolError,
    ModelRateLimited,
    ModelRejected,
    ModelRequest,
    ModelSettings,
    ModelTimeout,
    ModelUnavailable,
    OutputSchema,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
)
from agent_factory.providers.vendors.adapter import Adapter
from agent_factory.runtime.models import Models, ModelsSettings
from agent_factory.security.egress import Egress
from tests.doubles.fixtures import ModelServer
from tests.providers.asking import ask

ADD = ToolSpec("add", "Adds", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


@pytest.fixture
async def openai(model_server: ModelServer) -> AsyncGenerator[Adapter, None]:
    """The adapter over pydantic-ai's OpenAI models, at the model server."""
    client = AsyncOpenAI(base_url=model_server.url, api_key="key")

    def find(name: str) -> OpenAIChatModel:
        return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=client))

    yield Adapter("pydantic-ai", find)
    await client.close()


async def test_it_answers_whole_and_streamed(openai: Adapter) -> None:
    whole = await openai.inference(ask("fixed"))
    events = [e async for e in openai.stream(ask("fixed"))]
    assert whole.message == assistant("Hello from the model server.")
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "Hello from the model server."
    last = events[-1]
    assert isinstance(last, Done)
    assert last.response.message == whole.message
    assert last.response.usage == whole.usage
    assert whole.usage.input_tokens > 0


async def test_tool_calls_and_their_results_go_both_ways(openai: Adapter, model_server: ModelServer) -> None:
    directive = {"call": [{"name": "add", "arguments": {"a": 1}, "id": "c1"}], "key": "adapter-tools"}
    first = await openai.inference(ask("x", directive, tools=(ADD,), instructions="Be brief."))
    assert [(c.id, c.name, json.loads(c.arguments)) for c in first.message.tool_calls] == [("c1", "add", {"a": 1})]
    result = Message("tool", (ToolResult("c1", "add", "2"),))
    again = ModelRequest("x", (user(json.dumps(directive)), first.message, result), tools=(ADD,))
    assert (await openai.inference(again)).message.text == "Results: 2"
    sent = (await model_server.requests("adapter-tools"))[-1]["body"]["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "tool"]
    assert sent[2] == {"role": "tool", "tool_call_id": "c1", "content": "2"}


async def test_streamed_tool_calls_tell_their_name_first(openai: Adapter) -> None:
    directive = {"call": [{"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {"a": 2}}]}
    events = [e async for e in openai.stream(ask("x", directive, tools=(ADD,)))]
    deltas = [e for e in events if isinstance(e, ToolCallDelta)]
    for index, number in enumerate((1, 2)):
        own = [d for d in deltas if d.index == index]
        assert own[0].name == "add"
        assert json.loads("".join(d.arguments for d in own)) == {"a": number}


@pytest.mark.parametrize(
    ("model", "directive", "kind"),
    [
        ("unavailable", "hi", ModelUnavailable),
        ("overloaded", "hi", ModelUnavailable),
        ("limited", "hi", ModelRateLimited),
        ("context", "hi", ContextExceeded),
        ("x", {"status": 401}, ModelAuthFailed),
        ("x", {"status": 400}, ModelRejected),
        ("hang", "hi", ModelTimeout),
    ],
)
async def test_each_failure_has_its_class(
    openai: Adapter, model: str, directive: dict[str, Any] | str, kind: type[ModelError]
) -> None:
    with pytest.raises(kind):
        await openai.inference(ask(model, directive, timeout=0.3 if model == "hang" else 10.0))
    with pytest.raises(kind):
        async for _ in openai.stream(ask(model, directive, timeout=0.3 if model == "hang" else 10.0)):
            pass


async def test_a_failure_is_not_tried_again_below_us(openai: Adapter, model_server: ModelServer) -> None:
    with pytest.raises(ModelUnavailable):
        await openai.inference(ask("x", {"status": 503, "key": "adapter-once"}))
    assert (await model_server.calls("adapter-once"))["calls"] == 1


async def test_the_vendors_wish_to_wait_is_kept(openai: Adapter) -> None:
    with pytest.raises(ModelRateLimited) as caught:
        await openai.inference(ask("limited"))
    assert caught.value.retry_after == 1.0


async def test_an_endless_stream_ends_at_the_deadline(openai: Adapter) -> None:
    with pytest.raises(ModelTimeout):
        async for _ in openai.stream(ask("endless", timeout=0.5)):
            pass


async def test_leaving_a_stream_closes_its_connection(openai: Adapter, model_server: ModelServer) -> None:
    directive = {"endless": True, "key": "adapter-left"}
    async with aclosing(openai.stream(ask("x", directive))) as events:
        async for _ in events:
            break
    for _ in range(200):
        if (await model_server.calls("adapter-left"))["aborted"]:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the server still sends")


async def test_its_test_model_calls_the_tools_that_it_is_offered() -> None:
    adapter = Adapter("pydantic-ai", lambda _: TestModel())
    answer = await adapter.inference(ask("test", tools=(ADD,)))
    assert [c.name for c in answer.message.tool_calls] == ["add"]
    assert answer.finish == "tool_calls"


def functions(answer: Callable[[list[ModelMessage], AgentInfo], ModelResponse]) -> Adapter:
    return Adapter("pydantic-ai", lambda _: FunctionModel(answer))


async def test_history_settings_and_schema_arrive_in_its_types() -> None:
    seen: list[tuple[list[ModelMessage], AgentInfo]] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        seen.append((messages, info))
        return ModelResponse(parts=[TextPart("{}")])

    picture = Media("image/png", data="aGk=")
    request = ModelRequest(
        "f",
        (user("one"), assistant("two"), Message("user", (Text("look"), picture, Media("image/*", url="https://x/y")))),
        instructions="Be kind.",
        settings=ModelSettings(temperature=0.5, stop=("END",), reasoning_effort="none", max_tokens=7),
        output=OutputSchema("answer", {"type": "object"}),
    )
    await functions(answer).inference(request)
    messages, info = seen[0]
    assert [p.part_kind for m in messages for p in m.parts] == [
        *("system-prompt", "system-prompt", "user-prompt", "text", "user-prompt")
    ]
    assert info.model_settings is not None
    assert info.model_settings.get("max_retries") == 0
    assert info.model_settings.get("temperature") == 0.5
    assert info.model_settings.get("stop_sequences") == ["END"]


async def test_thoughts_go_back_to_their_own_vendor_alone() -> None:
    seen: list[list[ModelMessage]] = []

    def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        seen.append(messages)
        return ModelResponse(parts=[ThinkingPart("hm", signature="s1"), TextPart("yes")])

    adapter = functions(answer)
    first = await adapter.inference(ask("f"))
    foreign = Message("assistant", (Reasoning("secret", "anthropic", None), Text("no")))
    await adapter.inference(ModelRequest("f", (user("a"), first.message, user("b"), foreign, user("c"))))
    parts = [p for m in seen[1] for p in m.parts]
    thoughts = [p for p in parts if isinstance(p, ThinkingPart)]
    assert [(t.content, t.signature) for t in thoughts] == [("hm", "s1")]


async def test_what_a_vendors_client_raises_is_a_failed_call() -> None:
    def answer(_: list[ModelMessage], __: AgentInfo) -> ModelResponse:
        raise RuntimeError("boom")

    with pytest.raises(ModelUnavailable, match="boom"):
        await functions(answer).inference(ask("f"))


async def test_an_answer_with_nothing_in_it_is_empty_not_an_error() -> None:
    def answer(_: list[ModelMessage], __: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=[ToolCallPart("add", None, "c9")])

    reply = await functions(answer).inference(ask("f", tools=(ADD,)))
    assert reply.message.tool_calls[0].arguments == "{}"


async def test_streamed_functions_speak_in_pieces() -> None:
    async def speak(_: list[ModelMessage], __: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        yield "one "
        yield "two"

    adapter = Adapter("pydantic-ai", lambda _: FunctionModel(stream_function=speak))
    events = [e async for e in adapter.stream(ask("f"))]
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["one ", "two"]


async def test_an_unknown_vendor_is_rejected_with_a_reason(egress: Egress) -> None:
    resolved = Models(ModelsSettings(), egress).resolve("pydantic-ai:nobody:model-1")
    assert resolved.model == "nobody:model-1"
    with pytest.raises(ModelError, match="nobody"):
        await resolved.provider.inference(ask(resolved.model))


async def test_a_broken_answer_is_a_protocol_error(openai: Adapter) -> None:
    with pytest.raises((ModelProtocolError, ModelUnavailable)):
        await openai.inference(ask("garbage"))
