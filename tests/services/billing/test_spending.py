"""What runs spend, held against limits: by real turns and workflows, over the API."""

import asyncio
import base64
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.limits import Metric
from agent_factory.kit.clock import now
from agent_factory.kit.ids import encode
from agent_factory.services.billing import service
from tests.doubles.fixtures import ModelServer
from tests.services.billing.conftest import Deploy
from tests.services.billing.test_budgets import BUDGETS, set_budget
from tests.serving import Client

LOOP = json.dumps({"loop": True, "call": [{"name": "calculator", "arguments": {"expression": "1+1"}}]})


def directive(**fields: Any) -> str:
    return json.dumps(fields)


def cursor(*place: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


async def run(client: Client, agent: str, text: str) -> Any:
    return await client.post("/api/v1/runs?wait=20", json={"agent": agent, "input": text})


async def state(client: Client, budget: dict[str, Any]) -> dict[str, Any]:
    return (await client.get(f"{BUDGETS}/{budget['id']}")).json()


async def budget_of(app: FastAPI, client: Client, **fields: Any) -> dict[str, Any]:
    """Set a budget that holds in this process at once."""
    made = await set_budget(client, **fields)
    app.state.platform.engine.ledger.known.forget(client.actor.organization_id)
    return made


async def usage(client: Client, **params: Any) -> dict[str, Any]:
    path = f"/api/v1/organizations/{encode('org', client.actor.organization_id)}/usage"
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_budget_ends_a_run_in_the_middle(app: FastAPI, client: Client, deploy: Deploy) -> None:
    agent = await deploy(tools=["calculator"], limits={"steps": 50}, settings={"max_tokens": 100})
    budget = await budget_of(app, client, metric="tokens", amount=2000)
    ended = (await run(client, agent, LOOP)).json()["run"]
    assert (ended["status"], ended["error"]["code"]) == ("failed", "budget_exceeded")
    assert "2000 tokens a month" in ended["error"]["detail"]
    after = await state(client, budget)
    assert 0 < int(after["used"]) <= 2000
    assert after["held"] == "0"
    assert int(after["used"]) == ended["input_tokens"] + ended["output_tokens"]


async def test_money_is_counted_at_the_vendors_price(app: FastAPI, client: Client, deploy: Deploy) -> None:
    agent = await deploy()
    budget = await budget_of(app, client, metric="usd", amount="0.05")
    for _ in range(3):
        assert (await run(client, agent, directive(say="hi", usage=[1000, 500]))).json()["run"]["status"] == "completed"
    after = await state(client, budget)
    assert Decimal(after["used"]) == 3 * (1000 * Decimal("0.15") + 500 * Decimal("0.60")) / 1_000_000
    assert after["held"] == "0"


async def test_the_vendor_is_asked_for_no_longer_answer_than_is_held(
    app: FastAPI, client: Client, deploy: Deploy, model_server: ModelServer
) -> None:
    agent = await deploy()
    await budget_of(app, client, metric="tokens", amount=1000)
    key = f"bounded-{agent}"
    assert (await run(client, agent, directive(say="hi", key=key))).json()["run"]["status"] == "completed"
    (asked,) = await model_server.requests(key)
    longest = asked["body"].get("max_completion_tokens") or asked["body"].get("max_tokens")
    assert 256 <= longest < 1000


async def test_once_a_budget_is_used_up_nothing_is_started(app: FastAPI, client: Client, deploy: Deploy) -> None:
    agent = await deploy("support")
    budget = await budget_of(app, client, metric="tokens", period="day", amount=1000)
    await run(client, agent, directive(say="hi", usage=[600, 400]))
    assert (await state(client, budget))["left"] == "0"
    refused = await run(client, agent, "hello")
    assert (refused.status_code, refused.json()["code"]) == (402, "budget_exceeded")
    chat = {"model": "agent:support", "messages": [{"role": "user", "content": "hello"}]}
    refused = await client.post("/v1/chat/completions", json=chat)
    assert refused.status_code == 402
    assert refused.json()["error"]["type"] == "insufficient_quota"
    assert refused.json()["error"]["code"] == "budget_exceeded"
    assert len((await client.get("/api/v1/runs")).json()["data"]) == 1
    changed = await client.patch(f"{BUDGETS}/{budget['id']}", json={"amount": "2000"})
    assert changed.status_code == 200
    app.state.platform.engine.ledger.known.forget(client.actor.organization_id)
    assert (await run(client, agent, directive(usage=[10, 10]))).json()["run"]["status"] == "completed"


async def test_a_budget_counts_what_was_used_before_it_was_set(app: FastAPI, client: Client, deploy: Deploy) -> None:
    agent = await deploy()
    await run(client, agent, directive(say="hi", usage=[600, 400]))
    assert (await set_budget(client, metric="tokens", period="month", amount=5000))["used"] == "1000"
    assert (await set_budget(client, metric="runs", period="day", amount=5000))["used"] == "1"
    assert (await set_budget(client, metric="tokens", period="total", agent_id=agent, amount=5000))["used"] == "1000"
    other = await client.create_agent("other")
    made = await set_budget(client, metric="tokens", period="total", agent_id=other["id"], amount=5000)
    assert made["used"] == "0"


async def test_a_new_budget_is_heard_of_without_a_wait(client: Client, deploy: Deploy) -> None:
    agent = await deploy()
    assert (await run(client, agent, "hello")).json()["run"]["status"] == "completed"
    await set_budget(client, metric="runs", period="day", amount=1)
    async with asyncio.timeout(4):  # less than limits are believed
        while (await run(client, agent, "hello")).status_code != 402:
            pass


async def test_tool_calls_have_budgets(app: FastAPI, client: Client, deploy: Deploy) -> None:
    agent = await deploy(tools=["calculator"], limits={"steps": 50})
    budget = await budget_of(app, client, metric="tool_calls", period="run", amount=3)
    ended = (await run(client, agent, LOOP)).json()["run"]
    assert (ended["status"], ended["error"]["code"]) == ("failed", "budget_exceeded")
    steps = (await client.get(f"/api/v1/runs/{ended['id']}/steps", params={"limit": 100})).json()["data"]
    assert [step["kind"] for step in steps].count("tool") == 3
    assert budget["left"] is None


async def test_branches_of_one_run_share_its_budget(app: FastAPI, client: Client, deploy: Deploy) -> None:
    await deploy(settings={"max_tokens": 300})
    budget = await budget_of(app, client, metric="tokens", period="run", amount=2000)
    total = await budget_of(app, client, metric="tokens", period="day", amount=100_000)
    ask = {"type": "agent", "config": {"agent": "support", "message": directive(usage=[30, 300])}}
    mapped = {"items": "{{ [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] }}", "concurrency": 10, "tasks": [{"id": "each", **ask}]}
    flow = {"name": "flow", "tasks": [{"id": "all", "type": "map", "config": mapped}]}
    for runs in (1, 2):
        ended = (await client.post("/api/v1/workflows/execute?wait=20", json={"workflow": flow})).json()
        assert (ended["status"], ended["error"]["code"]) == ("failed", "budget_exceeded"), ended
        await app.state.platform.engine.ledger.idle()
        after = await state(client, total)
        assert 0 < int(after["used"]) <= 2000 * runs
        assert after["held"] == "0"
    assert budget["left"] is None


async def test_tools_that_workflows_call_count_as_those_of_agents(app: FastAPI, client: Client) -> None:
    budget = await budget_of(app, client, metric="tool_calls", period="day", amount=3)
    task = {"type": "tool", "config": {"tool": "calculator", "arguments": {"expression": "1 + 1"}}}
    mapped = {"items": "{{ [1, 2, 3, 4] }}", "tasks": [{"id": "each", **task}]}
    flow = {"name": "flow", "tasks": [{"id": "all", "type": "map", "config": mapped}]}
    ended = (await client.post("/api/v1/workflows/execute?wait=20", json={"workflow": flow})).json()
    assert (ended["status"], ended["error"]["code"]) == ("failed", "budget_exceeded"), ended
    after = await state(client, budget)
    assert (after["used"], after["held"]) == ("3", "0")


async def test_an_agents_budget_holds_below_other_agents_and_in_workflows(
    app: FastAPI, client: Client, deploy: Deploy
) -> None:
    expert = await deploy("expert")
    boss = await deploy("boss", tools=[{"use": "agent", "config": {"agent": "expert"}}])
    budget = await budget_of(app, client, metric="tokens", agent_id=expert, amount=1000)
    asked = {"message": directive(say="hi", usage=[300, 100])}
    calls = [{"name": "ask_expert", "arguments": asked}]
    ended = (await run(client, boss, directive(say="done", call=calls, usage=[10, 10]))).json()["run"]
    assert ended["status"] == "completed", ended
    assert (await state(client, budget))["used"] == "400"
    task = {"id": "ask", "type": "agent", "config": {"agent": "expert", "message": directive(usage=[500, 100])}}
    execute = {"workflow": {"name": "flow", "tasks": [task]}}
    done = await client.post("/api/v1/workflows/execute?wait=20", json=execute)
    assert done.json()["status"] == "completed", done.text
    assert (await state(client, budget))["used"] == "1000"
    done = await client.post("/api/v1/workflows/execute?wait=20", json=execute)
    assert (done.json()["status"], done.json()["error"]["code"]) == ("failed", "budget_exceeded")


async def test_a_keys_budget_is_that_keys_alone(app: FastAPI, client: Client, deploy: Deploy) -> None:
    agent = await deploy()
    made = (await client.post("/api/v1/api-keys", json={"name": "cron"})).json()
    await budget_of(app, client, metric="runs", period="total", key_id=made["id"], amount=1)
    body, other = {"agent": agent, "input": "hello"}, {"Authorization": f"Bearer {made['key']}"}
    assert (await client.post("/api/v1/runs?wait=20", json=body, headers=other)).status_code == 201
    assert (await client.post("/api/v1/runs?wait=20", json=body, headers=other)).status_code == 402
    assert (await run(client, agent, "hello")).status_code == 201


async def test_a_key_evades_its_budget_by_no_key_and_no_trigger_that_it_makes(
    app: FastAPI, client: Client, deploy: Deploy
) -> None:
    agent = await deploy()
    made = (await client.post("/api/v1/api-keys", json={"name": "trial"})).json()
    key = {"Authorization": f"Bearer {made['key']}"}
    second = (await client.post("/api/v1/api-keys", json={"name": "second"}, headers=key)).json()
    third = {"Authorization": f"Bearer {second['key']}"}
    third = (await client.post("/api/v1/api-keys", json={"name": "third"}, headers=third)).json()
    others = {"Authorization": f"Bearer {third['key']}"}
    body = {"agent": agent, "input": directive(usage=[30, 20])}
    assert (await client.post("/api/v1/runs?wait=20", json=body, headers=others)).status_code == 201
    budget = await budget_of(app, client, metric="runs", period="total", key_id=made["id"], amount=3)
    assert budget["used"] == "1"
    assert (await client.post("/api/v1/runs?wait=20", json=body, headers=others)).status_code == 201
    flow = {"name": "flow", "tasks": [{"id": "a", "type": "transform", "config": {"value": 1}}]}
    workflow = (await client.post("/api/v1/workflows", json=flow)).json()["id"]
    assert (await client.post(f"/api/v1/workflows/{workflow}:deploy", json={})).status_code == 200
    config = {"path": f"hook-{workflow}", "respond": "result"}
    hook = {"workflow": workflow, "type": "webhook", "config": config}
    trigger = await client.post("/api/v1/triggers", json=hook, headers=key)
    assert trigger.status_code == 201, trigger.text
    answers = [await client.post(f"/webhook/hook-{workflow}", json={}) for _ in range(2)]
    assert answers[0].status_code < 300, answers[0].text
    assert (answers[1].status_code, answers[1].json()["code"]) == (402, "budget_exceeded")
    assert (await client.post("/api/v1/runs?wait=20", json=body, headers=others)).status_code == 402
    assert (await run(client, agent, "hello")).status_code == 201


async def test_a_quota_of_runs_counts_workflows_and_turns(
    app: FastAPI, client: Client, database: Database, deploy: Deploy
) -> None:
    agent = await deploy()
    async with database.system() as session:
        await service.set_quota(session, client.actor.organization_id, Metric.RUNS, Decimal(2))
    app.state.platform.engine.ledger.known.forget(client.actor.organization_id)
    execute = {"workflow": {"name": "flow", "tasks": [{"id": "a", "type": "transform", "config": {"value": 1}}]}}
    assert (await client.post("/api/v1/workflows/execute?wait=20", json=execute)).json()["status"] == "completed"
    assert (await run(client, agent, "hello")).status_code == 201
    for refused in (await run(client, agent, "hello"), await client.post("/api/v1/workflows/execute", json=execute)):
        assert (refused.status_code, refused.json()["code"]) == (402, "quota_exceeded")


async def test_an_answer_that_nobody_waited_for_is_counted_whole(
    app: FastAPI, client: Client, deploy: Deploy, model_server: ModelServer
) -> None:
    agent = await deploy(settings={"max_tokens": 300})
    budget = await budget_of(app, client, metric="tokens", amount=5000)
    key = f"hang-{agent}"
    begun = await client.post("/api/v1/runs?wait=0", json={"agent": agent, "input": directive(hang=True, key=key)})
    while not (await model_server.calls(key))["calls"]:  # noqa: ASYNC110 - the server calls nobody back
        await asyncio.sleep(0.01)
    held = int((await state(client, budget))["held"])
    assert held > 300
    assert (await client.post(f"/api/v1/runs/{begun.json()['run']['id']}:cancel")).status_code == 200
    await app.state.platform.engine.ledger.idle()
    after = await state(client, budget)
    assert (after["used"], after["held"]) == (str(held), "0")
    (row,) = (await usage(client, by="model"))["data"][1:]
    assert (row["calls"], row["unconfirmed"], row["model"]) == (1, 1, "openai:gpt-4o-mini")
    assert row["input_tokens"] + row["output_tokens"] == held


async def test_a_refused_call_costs_nothing(app: FastAPI, client: Client, deploy: Deploy) -> None:
    agent = await deploy(retry={"attempts": 1})
    budget = await budget_of(app, client, metric="tokens", amount=50_000)
    ended = (await run(client, agent, directive(status=400))).json()["run"]
    assert ended["status"] == "failed"
    assert ((await state(client, budget))["used"], (await state(client, budget))["held"]) == ("0", "0")


async def test_usage_is_told_by_day_agent_key_and_model(client: Client, deploy: Deploy) -> None:
    first, second = await deploy("first"), await deploy("second", model="double:echo")
    for agent in (first, first, second):
        assert (await run(client, agent, directive(say="hi", usage=[100, 20]))).json()["run"]["status"] == "completed"
    (day,) = (await usage(client))["data"]
    assert (day["day"], day["runs"], day["calls"]) == (now().date().isoformat(), 3, 3)
    assert (day["input_tokens"], day["output_tokens"]) == (300, 60)
    assert (day["agent_id"], day["key_id"], day["model"], day["unconfirmed"]) == (None, None, None, 0)
    by_agent = {row["agent_id"]: row["runs"] for row in (await usage(client, by="agent"))["data"]}
    assert by_agent == {first: 2, second: 1}
    rows = (await usage(client, by=["model", "key"]))["data"]
    assert {row["model"]: row["input_tokens"] for row in rows} == {
        None: 0,
        "openai:gpt-4o-mini": 200,
        "double:echo": 100,
    }
    assert len({row["key_id"] for row in rows}) == 1
    assert rows[0]["key_id"].startswith("key_")
    assert {row["model"]: row["cost_usd"] for row in rows}["double:echo"] is None


async def test_pages_of_usage_follow_each_other_and_nothing_is_told_twice(
    app: FastAPI, client: Client, deploy: Deploy
) -> None:
    for name in ("a", "b", "c"):
        assert (await run(client, await deploy(name), "hello")).json()["run"]["status"] == "completed"
    whole = (await usage(client, by=["agent", "model"]))["data"]
    assert len(whole) == 6
    await app.state.platform.engine.ledger.roll(0)  # what is added up by day is told as it was before
    cursor, told = None, []
    while True:
        page = await usage(client, by=["agent", "model"], limit=1, **({"cursor": cursor} if cursor else {}))
        told += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert told == whole


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "nonsense"},
        {"cursor": "W10"},
        {"cursor": cursor("2026-11-21", "0" * 32, "0" * 32, "a\0b")},
        {"cursor": cursor("2026-11-21", "0" * 32, "0" * 32, "\ud800")},
        {"cursor": cursor("0000-00-00", "0" * 32, "0" * 32, "")},
        {"cursor": "\u00e9"},
        {"from": "2026-02-31"},
        {"to": "0"},
        {"to": "20261121"},
        {"from": "2026-03-02", "to": "2026-03-01"},
    ],
)
async def test_a_question_for_usage_that_makes_no_sense_is_refused(client: Client, params: dict[str, str]) -> None:
    path = f"/api/v1/organizations/{encode('org', client.actor.organization_id)}/usage"
    assert (await client.get(path, params=params)).status_code == 422


async def test_usage_of_other_days_is_that_of_other_days(client: Client, deploy: Deploy) -> None:
    await run(client, await deploy(), "hello")
    yesterday = (now() - timedelta(days=1)).date().isoformat()
    assert (await usage(client, to=yesterday))["data"] == []
    assert (await usage(client, to="0001-01-02"))["data"] == []


async def test_embeddings_are_counted(app: FastAPI, client: Client) -> None:
    budget = await budget_of(app, client, metric="tokens", amount=100)
    body = {"model": "double:embed", "input": "some words to be put into numbers"}
    assert (await client.post("/v1/embeddings", json=body)).status_code == 200
    used = int((await state(client, budget))["used"])
    assert 0 < used < 100
    (row,) = (await usage(client, by="model"))["data"]
    assert (row["model"], row["calls"], row["input_tokens"]) == ("double:embed", 1, used)
    refused = await client.post("/v1/embeddings", json={**body, "input": "word " * 200})
    assert (refused.status_code, refused.json()["error"]["type"]) == (402, "insufficient_quota")


async def test_what_deleted_steps_used_stays_told(app: FastAPI, client: Client, deploy: Deploy) -> None:
    """Whoever deletes a conversation, or lets a failed run begin again, has used what he has used."""
    agent = await deploy()
    session = (await client.post("/api/v1/sessions", json={"agent": agent})).json()["id"]
    said = {"content": directive(say="hi", usage=[300, 40])}
    assert (await client.post(f"/api/v1/sessions/{session}/messages", json=said)).status_code == 201
    before = (await usage(client, by=["agent", "key", "model"]))["data"]
    assert (await client.delete(f"/api/v1/sessions/{session}")).status_code == 204
    assert (await usage(client, by=["agent", "key", "model"]))["data"] == before
    ask = {"type": "agent", "config": {"agent": "support", "message": directive(say="no", usage=[70, 30])}}
    fails = {"id": "fails", "type": "transform", "config": {"value": "{{ 1 / 0 }}"}}
    branches = {"one": [{"id": "ask", **ask}, {**fails, "depends_on": ["ask"]}]}
    flow = {"name": "flow", "tasks": [{"id": "both", "type": "parallel", "config": {"branches": branches}}]}
    ended = (await client.post("/api/v1/workflows/execute?wait=20", json={"workflow": flow})).json()
    assert ended["status"] == "failed", ended
    told = (await usage(client))["data"][0]
    assert told["input_tokens"] + told["output_tokens"] == 440
    assert (await client.post(f"/api/v1/runs/{ended['id']}:resume?wait=20")).status_code == 200
    told = (await usage(client))["data"][0]
    assert told["input_tokens"] + told["output_tokens"] >= 440
    await app.state.platform.engine.ledger.roll(0)
    assert (await usage(client))["data"][0] == told


async def test_a_budget_follows_its_agent_through_new_names(app: FastAPI, client: Client, deploy: Deploy) -> None:
    """A draft with another name lets neither the deployed version go free nor what calls it by its older name."""
    expert = await deploy("expert")
    budget = await budget_of(app, client, metric="tokens", agent_id=expert, amount=1000)
    renamed = await client.patch(f"/api/v1/agents/{expert}", json={"name": "renamed"})
    assert renamed.status_code == 200, renamed.text
    ledger = app.state.platform.engine.ledger
    ledger.known.forget(client.actor.organization_id)
    assert (await run(client, expert, directive(usage=[200, 100]))).json()["run"]["status"] == "completed"
    assert (await state(client, budget))["used"] == "300"
    assert (await client.post(f"/api/v1/agents/{expert}:deploy", json={})).status_code == 200
    ledger.known.forget(client.actor.organization_id)
    assert (await run(client, expert, directive(usage=[100, 100]))).json()["run"]["status"] == "completed"
    assert (await state(client, budget))["used"] == "500"
    taken = await client.create_agent("expert", model="openai:gpt-4o-mini")
    assert (await client.post(f"/api/v1/agents/{taken['id']}:deploy", json={})).status_code == 200
    ledger.known.forget(client.actor.organization_id)
    assert (await run(client, taken["id"], directive(usage=[100, 100]))).json()["run"]["status"] == "completed"
    assert (await state(client, budget))["used"] == "500"
    again = await client.patch(f"/api/v1/agents/{expert}", json={"name": "again"})
    assert again.status_code == 200
    boss = await deploy("boss", tools=[{"use": "agent", "config": {"agent": "again"}}])
    ledger.known.forget(client.actor.organization_id)
    calls = [{"name": "ask_again", "arguments": {"message": directive(usage=[90, 10])}}]
    told = (await run(client, boss, directive(call=calls, usage=[1, 1]))).json()["run"]
    assert told["status"] == "completed", told
    assert (await state(client, budget))["used"] == "600"
