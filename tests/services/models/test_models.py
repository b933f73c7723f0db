"""Which models and vendors there are."""

import json

from agent_factory.database.session import Database
from agent_factory.security.auth import Actor
from tests.serving import Client, client_of, key_for, opened, settings_for

NO_OLLAMA = {"ollama_url": "http://127.0.0.1:1"}


async def test_the_demo_model_is_always_there(client: Client) -> None:
    models = (await client.get("/api/v1/models")).json()["data"]
    assert {"id": "demo", "provider": "demo"}.items() <= models[-1].items()


async def test_each_vendor_says_what_it_needs(client: Client) -> None:
    vendors = {v["name"]: v for v in (await client.get("/api/v1/providers")).json()["data"]}
    assert vendors["openai"]["configured"] is False
    assert "OPENAI_API_KEY" in vendors["openai"]["hint"]
    assert vendors["demo"]["configured"] is True


async def test_a_vendor_that_is_down_costs_no_more_than_its_own_models(
    database_url: str, database: Database, actor: Actor
) -> None:
    down = {"openai_api_key": "sk-secret", "openai_base_url": "http://127.0.0.1:1/v1", **NO_OLLAMA}
    key = await key_for(database, actor)
    async with opened(settings_for(database_url, models=down)) as app, client_of(app, key) as client:
        answer = await client.get("/api/v1/models")
        assert answer.status_code == 200
        assert [m["id"] for m in answer.json()["data"]] == ["demo"]
        everything = json.dumps((await client.get("/api/v1/providers")).json()) + answer.text
    assert "sk-secret" not in everything
