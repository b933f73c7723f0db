"""Calls that could be had for nothing: unpriced, cut, miscounted, or made by the product itself (abuse 67, 74)."""

from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.core.model import Embeddings
from agent_factory.enterprise.multitenancy.ledger import Ledger
from agent_factory.enterprise.multitenancy.limits import Spender
from agent_factory.runtime.models import ResolvedModel
from agent_factory.runtime.spending import embed
from tests.doubles.fixtures import ModelServer
from tests.services.billing.conftest import Deploy
from tests.services.billing.test_spending import budget_of, directive, run, state, usage
from tests.serving import Client

INPUT, OUTPUT = Decimal("0.15") / 1_000_000, Decimal("0.60") / 1_000_000
"""USD a token of gpt-4o-mini."""


async def test_a_model_without_a_price_goes_past_no_budget_of_money(
    app: FastAPI, client: Client, deploy: Deploy, model_server: ModelServer
) -> None:
    unpriced, free = await deploy(model="double:echo"), await deploy("free", model="demo")
    budget = await budget_of(app, client, metric="usd", amount=5)
    ended = (await run(client, unpriced, directive(say="hi", key=f"never-{unpriced}"))).json()["run"]
    assert (ended["status"], ended["error"]["code"]) == ("failed", "model_unpriced")
    assert "AF_MODELS__PRICES" in ended["error"]["detail"]
    assert (await model_server.calls(f"never-{unpriced}"))["calls"] == 0
    refused = await client.post("/v1/embeddings", json={"model": "double:embed", "input": "words"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "model_unpriced")
    assert (await run(client, free, "hello")).json()["run"]["status"] == "completed"
    assert (await state(client, budget))["used"] == "0"


async def test_a_model_without_a_price_works_where_only_tokens_are_limited(
    app: FastAPI, client: Client, deploy: Deploy
) -> None:
    agent = await deploy(model="double:echo")
    budget = await budget_of(app, client, metric="tokens", amount=50_000)
    assert (await run(client, agent, directive(usage=[10, 20]))).json()["run"]["status"] == "completed"
    assert (await state(client, budget))["used"] == "30"


async def test_the_operators_price_is_the_price(app: FastAPI, client: Client, deploy: Deploy) -> None:
    agent = await deploy(model="priced:echo")
    budget = await budget_of(app, client, metric="usd", amount=5)
    assert (await run(client, agent, directive(usage=[1000, 500]))).json()["run"]["cost_usd"] == "0.02"
    assert (await state(client, budget))["used"] == "0.02"


async def test_a_server_that_gives_its_model_a_name_of_its_own_is_paid_for_the_one_asked_for(
    app: FastAPI, client: Client, deploy: Deploy
) -> None:
    agent = await deploy()
    budget = await budget_of(app, client, metric="usd", amount=5)
    said = directive(usage=[1000, 500], model="a-model-that-nobody-knows")
    assert (await run(client, agent, said)).json()["run"]["status"] == "completed"
    assert Decimal((await state(client, budget))["used"]) == 1000 * INPUT + 500 * OUTPUT


@pytest.mark.parametrize(
    "told",
    [[0, 0], [-5, -5], [-10, 10], [1e300, 1e300], [0.5, 0.25], [True, False], [5 * 10**11, 5 * 10**11]],
)
async def test_a_vendor_that_tells_nonsense_is_paid_by_our_own_count(
    app: FastAPI, client: Client, deploy: Deploy, told: list[Any]
) -> None:
    """Abuse 74: nothing becomes free, nothing becomes negative, and nothing stays held."""
    agent = await deploy(settings={"max_tokens": 1000})
    tokens = await budget_of(app, client, metric="tokens", amount=100_000)
    money = await budget_of(app, client, metric="usd", amount=5)
    ended = (await run(client, agent, directive(say="word " * 50, usage=told))).json()["run"]
    assert ended["status"] == "completed", ended["error"]
    after, paid = await state(client, tokens), await state(client, money)
    assert 50 < int(after["used"]) < 2000
    assert int(after["used"]) == ended["input_tokens"] + ended["output_tokens"]
    assert 0 < Decimal(paid["used"]) == Decimal(ended["cost_usd"])
    assert (after["held"], paid["held"]) == ("0", "0")
    (row,) = [row for row in (await usage(client, by="model"))["data"] if row["model"]]
    assert row["input_tokens"] + row["output_tokens"] == int(after["used"])


@pytest.mark.parametrize(
    "fault", [{"close": 2}, {"stream_error": 2}, {"malformed": True}, {"no_done": True, "close": 3}]
)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_breaks_off_is_counted_whole(
    app: FastAPI, client: Client, deploy: Deploy, fault: dict[str, Any], stream: bool
) -> None:
    """Nobody knows how far the model came, and what had come was made."""
    agent = await deploy(settings={"max_tokens": 300}, retry={"attempts": 1})
    budget = await budget_of(app, client, metric="tokens", amount=5000)
    session = (await client.post("/api/v1/sessions", json={"agent": agent})).json()["id"]
    said = {"content": directive(say="one two three four", **fault), "stream": stream}
    answer = await client.post(f"/api/v1/sessions/{session}/messages", json=said)
    assert answer.status_code in (200, 201)
    after = await state(client, budget)
    refused_whole = not stream and "stream_error" in fault  # which is a plain 500 then
    assert (int(after["used"]) == 0) if refused_whole else (int(after["used"]) > 300)
    assert after["held"] == "0"


async def test_a_vendor_that_cannot_be_reached_costs_nothing(app: FastAPI, client: Client, deploy: Deploy) -> None:
    agent = await deploy(model="nowhere:echo", retry={"attempts": 1})
    budget = await budget_of(app, client, metric="tokens", amount=5000)
    ended = (await run(client, agent, "hello")).json()["run"]
    assert (ended["status"], ended["error"]["code"]) == ("failed", "model_unavailable")
    assert ((await state(client, budget))["used"], (await state(client, budget))["held"]) == ("0", "0")


JUDGED = {"guardrails": [{"use": "topics", "config": {"allowed": ["cheese"]}}]}


async def test_what_a_guardrail_asks_its_model_is_counted(
    app: FastAPI, client: Client, deploy: Deploy, model_server: ModelServer
) -> None:
    """With and without a limit: in the budget, in the run, and in the usage."""
    agent = await deploy(**JUDGED)
    key = f"judged-{agent}"
    verdict = {"topic": "cheese", "acceptable": True}
    inner = {**verdict, "json": verdict, "usage": [100, 10], "key": key}
    said = directive(json=inner, usage=[100, 10], key=key)
    ended = (await run(client, agent, said)).json()["run"]
    assert ended["status"] == "completed", ended["error"]
    calls = (await model_server.calls(key))["calls"]
    assert calls == 3  # what goes in, the answer, what goes out
    told = (await usage(client))["data"][0]
    assert (told["input_tokens"], told["output_tokens"]) == (300, 30)
    assert (ended["input_tokens"], ended["output_tokens"]) == (300, 30)
    budget = await budget_of(app, client, metric="tokens", amount=50_000)
    assert budget["used"] == "330"
    assert (await run(client, agent, said)).json()["run"]["status"] == "completed"
    after = await state(client, budget)
    assert (after["used"], after["held"]) == ("660", "0")
    told = (await usage(client))["data"][0]
    assert told["input_tokens"] + told["output_tokens"] == 660


async def test_a_guardrail_whose_model_cannot_be_paid_ends_the_run_with_the_budgets_own_error(
    app: FastAPI, client: Client, deploy: Deploy
) -> None:
    agent = await deploy(**JUDGED)
    await budget_of(app, client, metric="tokens", period="run", amount=100)
    ended = (await run(client, agent, "hello")).json()["run"]
    assert (ended["status"], ended["error"]["code"]) == ("failed", "budget_exceeded")


async def test_what_is_blocked_and_what_is_embedded_is_told_without_any_limit(client: Client, deploy: Deploy) -> None:
    agent = await deploy(guardrails=[{"use": "schema", "config": {"output": {"type": "object"}}}])
    ended = (await run(client, agent, directive(say="no JSON", usage=[70, 7]))).json()["run"]
    assert (ended["status"], ended["error"]["code"]) == ("failed", "guardrail_blocked")
    assert (await client.post("/v1/embeddings", json={"model": "double:embed", "input": "words"})).status_code == 200
    rows = {row["model"]: row for row in (await usage(client, by="model"))["data"]}
    assert (rows["openai:gpt-4o-mini"]["input_tokens"], rows["openai:gpt-4o-mini"]["output_tokens"]) == (70, 7)
    assert rows["double:embed"]["input_tokens"] > 0


class Embedding:
    """A provider of embeddings that counts as it likes."""

    name = "odd"

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    async def embed(self, _model: str, _texts: object, _dimensions: int | None = None) -> Embeddings:
        return Embeddings(((1.0,),), "odd", self._tokens)


@pytest.mark.parametrize("tokens", [-1, -(10**12), 10**18])
async def test_embeddings_that_are_counted_with_nonsense_are_counted_by_us(
    app: FastAPI, client: Client, tokens: int
) -> None:
    """Abuse 74."""
    budget = await budget_of(app, client, metric="tokens", amount=1000)
    ledger: Ledger = app.state.platform.engine.ledger
    spender = Spender(organization_id=client.actor.organization_id)
    provider: Any = Embedding(tokens)
    await embed(ledger, spender, ResolvedModel(provider, "odd", "odd:odd"), ["some words"], None)
    after = await state(client, budget)
    assert 0 < int(after["used"]) < 20
    assert after["held"] == "0"


async def test_a_longest_answer_without_end_is_held_as_what_is_left(
    app: FastAPI, client: Client, deploy: Deploy, model_server: ModelServer
) -> None:
    agent = await deploy(model="double:echo", settings={"max_tokens": 10**18})
    budget = await budget_of(app, client, metric="tokens", amount=5000)
    key = f"huge-{agent}"
    ended = (await run(client, agent, directive(say="hi", key=key))).json()["run"]
    assert ended["status"] == "completed", ended["error"]
    (asked,) = await model_server.requests(key)
    assert (asked["body"].get("max_completion_tokens") or asked["body"]["max_tokens"]) < 5000
    assert (await state(client, budget))["held"] == "0"
