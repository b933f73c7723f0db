"""`/v1/models` and `/v1/embeddings` by the unmodified `openai` client (S10, S56)."""

import base64
import math
import struct
from typing import Any

import openai
import pytest

from tests.services.gateway.conftest import Served


async def test_the_models_are_the_deployed_agents(served: Served, stranger: Served) -> None:
    await served.deploy("helper")
    await served.deploy("other")
    await served.ask("POST", "/api/v1/agents", {"name": "draft", "model": "demo"})
    await stranger.deploy("secret")
    async with served.client() as client:
        found = (await client.models.list()).data
        one = await client.models.retrieve("agent:helper")
    assert {m.id for m in found} == {"agent:helper", "agent:other"}
    assert one in found
    assert one.created > 0
    assert one.owned_by.startswith("org_")


@pytest.mark.parametrize("model", ["agent:secret", "agent:draft", "agent:nobody", "gpt-4o", "agent:"])
async def test_a_model_that_cannot_be_asked_is_not_found(served: Served, stranger: Served, model: str) -> None:
    await stranger.deploy("secret")
    await served.ask("POST", "/api/v1/agents", {"name": "draft", "model": "demo"})
    async with served.client() as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve(model)
    assert caught.value.code == "model_not_found"


async def test_a_paused_agent_is_no_model_any_more(served: Served) -> None:
    agent_id = await served.deploy("helper")
    await served.ask("POST", f"/api/v1/agents/{agent_id}:pause", {})
    async with served.client() as client:
        assert (await client.models.list()).data == []


async def test_all_agents_are_listed_however_many_there_are(served: Served) -> None:
    for index in range(101):
        await served.deploy(f"agent-{index}")
    async with served.client() as client:
        assert len((await client.models.list()).data) == 101


async def test_texts_become_vectors_as_floats_or_as_base64(served: Served) -> None:
    texts = ["the cat sat", "revenue grew"]
    async with served.client() as client:
        default = await client.embeddings.create(model="demo", input=texts)
        floats = await client.embeddings.create(model="demo", input=texts, encoding_format="float")
        packed = await client.embeddings.create(model="demo", input=texts, encoding_format="base64")
        short = await client.embeddings.create(model="demo", input="the cat sat", dimensions=8)
    assert default.model == "demo"
    assert [e.index for e in default.data] == [0, 1]
    assert default.usage.total_tokens > 0
    for one, other, raw in zip(default.data, floats.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert math.isclose(sum(v * v for v in one.embedding), 1.0, abs_tol=1e-5)
        decoded = base64.b64decode(str(raw.embedding))
        assert list(struct.unpack(f"<{len(decoded) // 4}f", decoded)) == pytest.approx(other.embedding, abs=1e-6)
    assert len(short.data[0].embedding) == 8


async def test_a_configured_endpoint_embeds(served: Served) -> None:
    async with served.client() as client:
        made = await client.embeddings.create(model="double:embedder", input=["a", "b"])
    assert len(made.data) == 2
    assert made.data[0].embedding != made.data[1].embedding


@pytest.mark.parametrize("model", ["text-embedding-3-small", "openai:text-embedding-3-small", "nobody:x", "nonsense"])
async def test_without_a_provider_the_error_says_what_to_set(served: Served, model: str) -> None:
    async with served.client() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.embeddings.create(model=model, input="hi")
    assert caught.value.code == "no_embeddings"
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        {},
        {"model": "demo"},
        {"model": "demo", "input": []},
        {"model": "demo", "input": ""},
        {"model": "demo", "input": [1, 2, 3]},
        {"model": "demo", "input": ["a"] * 2049},
        {"model": "demo", "input": "a", "dimensions": 0},
        {"model": "demo", "input": "a", "dimensions": 10**9},
        {"model": "demo", "input": "a", "encoding_format": "hex"},
        {"model": "", "input": "a"},
        {"model": 7, "input": "a"},
    ],
)
async def test_bad_input_is_refused_in_openais_shape(served: Served, body: Any) -> None:
    status, _, told = await served.ask("POST", "/v1/embeddings", body)
    assert status == 400
    assert told["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/models"), ("GET", "/v1/models/agent:x"), ("POST", "/v1/embeddings")]
)
async def test_without_a_good_key_nothing_is_served(served: Served, method: str, path: str) -> None:
    body = {"model": "demo", "input": "a"} if method == "POST" else None
    status, _, told = await served.ask(method, path, body, {"Authorization": "Bearer nonsense"})
    assert status == 401
    assert told["error"]["type"] == "authentication_error"
