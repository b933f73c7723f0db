"""Texts become vectors: by a vendor over the wire, or by the demo's rules."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web

from agent_factory.core.model import Embedder, ModelError, ModelProtocolError, ModelRateLimited, ModelUnavailable
from agent_factory.runtime.models import Endpoint, Models, ModelsSettings
from agent_factory.security.egress import Egress


@asynccontextmanager
async def server(status: int, body: Any) -> AsyncGenerator[tuple[str, list[Any]], None]:
    """Answer every request for embeddings in one way, and keep what was asked."""
    asked: list[Any] = []

    async def embeddings(request: web.Request) -> web.Response:
        asked.append(await request.json())
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return web.Response(status=status, body=raw, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/embeddings", embeddings)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", asked
    finally:
        await runner.cleanup()


async def embed(url: str, texts: list[str], dimensions: int | None = None) -> Any:
    egress = Egress()
    models = Models(ModelsSettings(endpoints={"own": Endpoint(url=url)}), egress)
    found = models.resolve("own:small")
    assert isinstance(found.provider, Embedder)
    try:
        return await found.provider.embed(found.model, texts, dimensions)
    finally:
        await egress.close()


async def test_vectors_come_back_in_the_order_of_the_texts() -> None:
    rows = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    answer = {"data": rows, "model": "small-2", "usage": {"prompt_tokens": 5}}
    async with server(200, answer) as (url, asked):
        made = await embed(url, ["a", "b"], 1)
    assert made.vectors == ((1.0,), (2.0,))
    assert (made.model, made.tokens) == ("small-2", 5)
    assert asked == [{"model": "small", "input": ["a", "b"], "encoding_format": "float", "dimensions": 1}]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"{", ModelProtocolError),
        (200, {"data": []}, ModelProtocolError),
        (200, {"data": [{"embedding": []}]}, ModelProtocolError),
        (200, {"data": [{"embedding": ["x"]}]}, ModelProtocolError),
        (429, {"error": {"message": "slow down"}}, ModelRateLimited),
        (500, {"error": {"message": "oh"}}, ModelUnavailable),
        (404, {"error": {"message": "no such model"}}, ModelError),
    ],
)
async def test_whatever_a_vendor_answers_else_is_one_clear_error(
    status: int, body: Any, error: type[ModelError]
) -> None:
    async with server(status, body) as (url, _):
        with pytest.raises(error):
            await embed(url, ["a"])


async def test_a_vendor_that_is_down_is_one_clear_error() -> None:
    async with server(200, {}) as (url, _):
        gone = url
    with pytest.raises(ModelError):
        await embed(gone, ["a"])


def test_anthropics_wire_has_no_embeddings() -> None:
    settings = ModelsSettings(endpoints={"own": Endpoint(url="http://127.0.0.1:1", protocol="anthropic")})
    assert not isinstance(Models(settings, Egress()).resolve("own:x").provider, Embedder)


async def test_the_demo_gives_equal_vectors_to_equal_texts_and_says_what_it_is() -> None:
    demo = Models(ModelsSettings(), Egress()).resolve("demo").provider
    assert isinstance(demo, Embedder)
    texts = [
        "the cat sat on the mat",
        "The cat sat on a mat!",
        "quarterly revenue grew",
        "the cat sat on the mat",
        "?!",
    ]
    made = await demo.embed("demo", texts)
    near, far = (sum(a * b for a, b in zip(made.vectors[0], made.vectors[i], strict=True)) for i in (1, 2))
    assert made.vectors[0] == made.vectors[3]
    assert near > 0.4 > far
    assert all(math.isclose(sum(v * v for v in vector), 1.0) for vector in made.vectors)
    assert made.model == "demo"
    assert len((await demo.embed("demo", ["a"], 8)).vectors[0]) == 8
