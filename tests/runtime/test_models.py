"""A model's name leads to its provider, or to a sentence that says what to set (S115, S116, S122)."""

from collections.abc import AsyncGenerator

import pydantic
import pytest
from aiohttp import web

from agent_factory.core.message import user
from agent_factory.core.model import ModelInfo, ModelRequest, UnknownModel
from agent_factory.kit.catalog import Catalog
from agent_factory.runtime.models import Endpoint, Models, ModelsSettings
from agent_factory.security.egress import Egress
from tests.doubles.fixtures import ModelServer

NOWHERE = "http://127.0.0.1:9"
KEY = pydantic.SecretStr("s3cret")


def models(egress: Egress, **settings: object) -> Models:
    return Models(ModelsSettings.model_validate({"ollama_url": NOWHERE} | settings), egress)


@pytest.fixture
async def ollama() -> AsyncGenerator[str, None]:
    """The URL of a server that lists models as Ollama does."""

    async def listed(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "llama3.2:3b"}, {"id": "qwen3"}]})

    app = web.Application()
    app.router.add_get("/v1/models", listed)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("openai:gpt-4o", "openai", "gpt-4o"),
        ("gpt-5-mini", "openai", "gpt-5-mini"),
        ("o3", "openai", "o3"),
        ("anthropic:claude-x", "anthropic", "claude-x"),
        ("claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("hf:meta-llama/Llama-3:groq", "hf", "meta-llama/Llama-3:groq"),
        ("ollama:llama3.2:3b", "ollama", "llama3.2:3b"),
        ("vllm:my-model", "vllm", "my-model"),
        ("pydantic-ai:groq:llama", "pydantic-ai", "groq:llama"),
        ("demo", "demo", "demo"),
    ],
)
def test_a_name_is_resolved(name: str, provider: str, model: str, egress: Egress) -> None:
    known = models(
        egress,
        openai_api_key="k",
        anthropic_api_key="k",
        hf_token="k",
        endpoints={"vllm": {"url": NOWHERE}},
    )
    found = known.resolve(name)
    assert (found.provider.name, found.model) == (provider, model)
    assert found.name == (name if ":" in name or name == "demo" else f"{provider}:{model}")
    assert known.resolve(name).provider is found.provider


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("openai:gpt-4o", "OPENAI_API_KEY"),
        ("gpt-4o", "OPENAI_API_KEY"),
        ("claude-x", "ANTHROPIC_API_KEY"),
        ("hf:x", "HF_TOKEN"),
        ("vllm:x", "AF_MODELS__ENDPOINTS"),
        ("endpoint:x", "no model vendor"),
        ("huggingface:x", "no model vendor"),
        ("wire:x", "no model vendor"),
        ("something", "vendor:model"),
        ("openai:", "vendor:model"),
        (":gpt", "vendor:model"),
        ("", "vendor:model"),
    ],
)
def test_an_unknown_name_says_what_to_set(name: str, says: str, egress: Egress) -> None:
    with pytest.raises(UnknownModel, match=says):
        models(egress).resolve(name)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "demo"),
        ({"openai_api_key": "k", "anthropic_api_key": "k"}, "openai:"),
        ({"anthropic_api_key": "k", "hf_token": "k"}, "anthropic:"),
        ({"hf_token": "k"}, "hf:"),
        ({"endpoints": {"vllm": {"url": NOWHERE, "model": "m"}}}, "vllm:m"),
        ({"endpoints": {"vllm": {"url": NOWHERE}}}, "demo"),
        ({"openai_api_key": "k", "default": "demo"}, "demo"),
    ],
)
async def test_default_is_the_first_that_is_configured(settings: dict[str, object], name: str, egress: Egress) -> None:
    assert (await models(egress, **settings).find("default")).name.startswith(name)


async def test_default_is_an_ollama_that_answers(ollama: str, egress: Egress) -> None:
    known = models(egress, ollama_url=ollama)
    assert (await known.find("default")).name == "ollama:llama3.2:3b"
    assert {s.name: s.configured for s in known.status()}["ollama"]


async def test_an_ollama_is_not_looked_for_where_something_else_is_set(ollama: str, egress: Egress) -> None:
    known = models(egress, ollama_url=ollama, openai_api_key="k")
    assert (await known.find("default")).name.startswith("openai:")
    assert not {s.name: s.configured for s in known.status()}["ollama"]


def test_a_default_that_is_default_is_refused(egress: Egress) -> None:
    with pytest.raises(UnknownModel, match="AF_MODELS__DEFAULT"):
        models(egress, default="default").resolve("default")


def test_what_is_missing_is_told(egress: Egress) -> None:
    hints = {s.name: s.hint for s in models(egress).status() if not s.configured}
    assert hints["openai"] == "Set OPENAI_API_KEY."
    assert hints.keys() == {"openai", "anthropic", "hf", "ollama"}


async def test_available_leaves_out_who_is_down(model_server: ModelServer, egress: Egress) -> None:
    known = models(egress, endpoints={"up": {"url": model_server.url}, "down": {"url": NOWHERE}})
    found = await known.available()
    assert ModelInfo("fixed", "up") in found
    assert found[-1].id == "demo"
    assert {m.provider for m in found} == {"up", "demo"}


async def test_a_base_url_replaces_the_vendors(model_server: ModelServer, egress: Egress) -> None:
    known = models(
        egress,
        openai_api_key="k",
        openai_base_url=model_server.url,
        anthropic_base_url=model_server.root,
        endpoints={"own": {"url": model_server.url, "api_key": "k", "context_window": 4096}},
    )
    for name in ("openai:fixed", "anthropic:fixed", "own:fixed"):
        found = known.resolve(name)
        answer = await found.provider.inference(ModelRequest(found.model, (user("hi"),)))
        assert answer.message.text == "Hello from the model server."
    assert known.resolve("own:fixed").window == 4096


@pytest.mark.parametrize("name", ["openai", "demo", "default", "pydantic-ai", "Upper", "with:colon", "", "a b"])
def test_an_endpoint_cannot_take_another_name(name: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="cannot name an endpoint"):
        ModelsSettings(endpoints={name: Endpoint(url=NOWHERE)})


def test_known_models_have_their_window(egress: Egress) -> None:
    known = models(egress, openai_api_key="k", anthropic_api_key="k")
    windows = {n: known.resolve(n).window for n in ("gpt-4o", "gpt-4.1", "claude-sonnet-4-5", "gpt-unheard-of")}
    assert windows == {"gpt-4o": 128_000, "gpt-4.1": 1_047_576, "claude-sonnet-4-5": 200_000, "gpt-unheard-of": None}


def test_keys_are_never_shown() -> None:
    settings = ModelsSettings(openai_api_key=KEY, endpoints={"own": Endpoint(url=NOWHERE, api_key=KEY)})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in settings.model_dump_json()


def test_every_provider_file_is_a_plugin_that_says_what_it_needs() -> None:
    catalog = Catalog[object]("agent_factory.providers")
    for name in catalog.names():
        plugin = catalog.get(name)
        assert getattr(plugin, "name", "")
        assert getattr(plugin, "needs", "").endswith(".")
