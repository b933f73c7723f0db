"""Providers over both wires against a server that speaks, lingers, lies and breaks off (S115, S122)."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from agent_factory.core.message import Message, Reasoning, ToolResult, assistant
from agent_factory.core.model import (
    ContextExceeded,
    Done,
    ModelAuthFailed,
    ModelError,
    ModelProtocolError,
    ModelProvider,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
)
from agent_factory.providers import Access
from agent_factory.providers.anthropic import plugin as anthropic
from agent_factory.providers.endpoint import plugin as endpoint
from agent_factory.providers.openai import plugin as openai
from agent_factory.security.egress import Egress
from tests.doubles.fixtures import ModelServer
from tests.providers.asking import ask

ADD = ToolSpec("add", "Adds", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest, model_server: ModelServer, egress: Egress) -> ModelProvider:
    """One provider for each wire."""
    plugin = openai if request.param == "openai" else anthropic
    return plugin.build(Access(request.param, model_server.url, "key"), egress)


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key of this test's own to count calls under."""
    return request.node.nodeid


async def streamed(provider: ModelProvider, *args: Any, **more: Any) -> list[Any]:
    return [e async for e in provider.stream(ask(*args, **more))]


async def until(done: Callable[[], Any]) -> None:
    """Wait until the server has seen something; it tells only when asked."""
    async with asyncio.timeout(10):
        while not await done():  # noqa: ASYNC110 - the server is another process
            await asyncio.sleep(0.01)


async def test_whole_and_streamed_answers_are_the_same(provider: ModelProvider) -> None:
    directive = {"say": "one two three", "reasoning": "let me see", "usage": [11, 7]}
    whole = await provider.inference(ask("m", directive))
    events = await streamed(provider, "m", directive)
    assert whole.message.text == "one two three"
    assert (whole.usage.input_tokens, whole.usage.output_tokens, whole.model) == (11, 7, "m")
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["one", " two", " three"]
    assert [e.text for e in events if isinstance(e, ReasoningDelta)] == ["let me see"]
    assert [p.text for p in whole.message.parts if isinstance(p, Reasoning)] == ["let me see"]
    assert isinstance(events[-1], Done)
    assert sum(isinstance(e, Done) for e in events) == 1
    assert (events[-1].response.message, events[-1].response.usage) == (whole.message, whole.usage)


async def test_parallel_calls_go_out_and_their_results_back(provider: ModelProvider) -> None:
    calls = [{"name": "add", "arguments": {"a": n}, "id": f"c{n}"} for n in (1, 2)]
    directive = {"call": calls}
    events = await streamed(provider, "m", directive, tools=(ADD,))
    message = events[-1].response.message
    assert [(c.id, json.loads(c.arguments)) for c in message.tool_calls] == [("c1", {"a": 1}), ("c2", {"a": 2})]
    assert events[-1].response.finish == "tool_calls"
    told = [e for e in events if isinstance(e, ToolCallDelta)]
    assert [(e.index, e.id, e.name) for e in told if e.id] == [(0, "c1", "add"), (1, "c2", "add")]
    request = ask("m", directive, tools=(ADD,))
    results = Message("tool", (ToolResult("c1", "add", "one"), ToolResult("c2", "add", "two")))
    again = ask("m", tools=(ADD,), messages=(*request.messages, message, results))
    assert (await provider.inference(again)).message == assistant("Results: one; two")


FAILURES: list[tuple[dict[str, Any], type[ModelError]]] = [
    ({"status": 400}, ModelRejected),
    ({"status": 401}, ModelAuthFailed),
    ({"status": 403}, ModelAuthFailed),
    ({"status": 404}, ModelRejected),
    ({"status": 422}, ModelRejected),
    ({"status": 429, "retry_after": 3}, ModelRateLimited),
    ({"status": 500}, ModelUnavailable),
    ({"status": 529}, ModelUnavailable),
    ({"status": 400, "error": {"message": "prompt is too long"}}, ContextExceeded),
    ({"malformed": True}, ModelProtocolError),
    ({"garbage": 5000}, ModelProtocolError),
    ({"close": 0}, ModelUnavailable),
    ({"hang": True}, ModelTimeout),
    ({"delay": 60}, ModelTimeout),
]


@pytest.mark.parametrize(("directive", "kind"), FAILURES)
async def test_each_failure_has_its_class_and_is_not_tried_again(
    directive: dict[str, Any], kind: type[ModelError], provider: ModelProvider, model_server: ModelServer, key: str
) -> None:
    timeout = 0.4 if kind is ModelTimeout else 10.0
    with pytest.raises(kind) as whole:
        await provider.inference(ask("m", directive | {"key": key}, timeout=timeout))
    with pytest.raises(kind):
        await streamed(provider, "m", directive | {"key": key}, timeout=timeout)
    assert whole.value.detail
    assert whole.value.retry_after == directive.get("retry_after")
    assert (await model_server.calls(key))["calls"] == 2


@pytest.mark.parametrize(
    ("directive", "kind"),
    [
        ({"say": "a b c d", "stream_error": 2, "pause": 0.02}, ModelUnavailable),
        ({"say": "a b c d", "close": 2}, ModelUnavailable),
        ({"say": "a b c d", "malformed": True, "pause": 0.02}, ModelProtocolError),
        ({"endless": True}, ModelTimeout),
    ],
)
async def test_a_stream_that_fails_midway_gives_its_words_and_then_its_error(
    directive: dict[str, Any], kind: type[ModelError], provider: ModelProvider
) -> None:
    heard: list[Any] = []

    async def listen() -> None:
        async for event in provider.stream(ask("m", directive, timeout=0.5 if "endless" in directive else 10.0)):
            heard.append(event)  # noqa: PERF401 - what came before the error is wanted

    with pytest.raises(kind):
        await listen()
    assert heard
    assert all(isinstance(e, TextDelta) for e in heard)


async def test_an_endless_body_is_cut(provider: ModelProvider) -> None:
    with pytest.raises((ModelProtocolError, ModelTimeout)):
        await provider.inference(ask("m", {"endless": True}, timeout=5.0))


async def test_a_stream_without_its_last_word_is_forgiven(provider: ModelProvider) -> None:
    events = await streamed(provider, "m", {"say": "all of it", "no_done": True})
    assert events[-1].response.message.text == "all of it"


async def test_leaving_a_stream_closes_the_connection(
    provider: ModelProvider, model_server: ModelServer, key: str
) -> None:
    async with aclosing(provider.stream(ask("m", {"endless": True, "key": key}))) as events:
        async for _ in events:
            break

    async def aborted() -> bool:
        return (await model_server.calls(key))["aborted"] == 1

    await until(aborted)


@pytest.mark.parametrize("streams", [True, False])
async def test_cancelling_closes_the_connection(
    streams: bool, provider: ModelProvider, model_server: ModelServer, key: str
) -> None:
    request = ask("m", {"hang": True, "key": key})

    async def call() -> None:
        if streams:
            async for _ in provider.stream(request):
                pass
        else:
            await provider.inference(request)

    task = asyncio.create_task(call())

    async def arrived() -> bool:
        return (await model_server.calls(key))["calls"] == 1

    async def aborted() -> bool:
        return (await model_server.calls(key))["aborted"] == 1

    await until(arrived)
    task.cancel()
    await until(aborted)
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)


async def test_a_provider_goes_on_after_failures(provider: ModelProvider) -> None:
    for directive in ({"garbage": 100}, {"close": 0}, {"status": 500}):
        with pytest.raises(ModelError):
            await provider.inference(ask("m", directive))
    assert (await provider.inference(ask("fixed"))).message.text == "Hello from the model server."


async def test_credentials_travel_in_the_header_of_their_wire(
    provider: ModelProvider, model_server: ModelServer, key: str
) -> None:
    await provider.inference(ask("m", {"say": "x", "key": key}))
    headers = (await model_server.requests(key))[0]["headers"]
    expected = {"openai": ("Authorization", "Bearer key"), "anthropic": ("x-api-key", "key")}[provider.name]
    assert headers[expected[0]] == expected[1]
    assert "key" not in json.dumps({k: v for k, v in headers.items() if k != expected[0]})


async def test_models_are_listed(provider: ModelProvider) -> None:
    listed = await provider.get_available_models()
    assert "fixed" in [m.id for m in listed]
    assert {m.provider for m in listed} == {provider.name}
    assert await provider.get_pricing() == []


async def test_nobody_there_is_unavailable_at_once(egress: Egress, unused_port: int) -> None:
    down = endpoint.build(Access("down", f"http://127.0.0.1:{unused_port}/v1"), egress)
    for call in (down.inference(ask("m")), down.get_available_models()):
        with pytest.raises(ModelUnavailable, match="down"):
            await call


async def test_an_untrusted_endpoint_inside_is_not_reached(model_server: ModelServer, egress: Egress) -> None:
    inside = endpoint.build(Access("inside", model_server.url, trusted=False), egress)
    with pytest.raises(ModelRejected):
        await inside.inference(ask("fixed"))


async def test_an_endpoint_may_speak_either_protocol(model_server: ModelServer, egress: Egress) -> None:
    for protocol in ("openai", "anthropic"):
        own = endpoint.build(Access("own", model_server.url, None, 1000, protocol), egress)
        assert (await own.inference(ask("fixed"))).message.text == "Hello from the model server."
        assert (await own.get_available_models())[0].context_window == 1000


async def test_a_server_that_ignores_streaming_is_understood(serve_json: str, egress: Egress) -> None:
    plain = endpoint.build(Access("plain", serve_json), egress)
    events = await streamed(plain, "m")
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["whole"]
    assert isinstance(events[-1], Done)
