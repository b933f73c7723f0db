"""Budgets over the API: what an organisation lets itself use."""

from decimal import Decimal
from typing import Any

import pytest

from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.limits import Metric
from agent_factory.kit.errors import Invalid
from agent_factory.kit.ids import encode, uuid7
from agent_factory.services.billing import service
from agent_factory.services.organizations.errors import OrganizationNotFound
from tests.serving import Client, Sign

BUDGETS = "/api/v1/budgets"


async def set_budget(client: Client, **fields: Any) -> dict[str, Any]:
    body = {"metric": "usd", "period": "month", "amount": "50", **fields}
    answer = await client.post(BUDGETS, json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{BUDGETS}/{answer.json()['id']}"
    return answer.json()


async def test_a_budget_is_set_shown_changed_and_removed(client: Client) -> None:
    made = await set_budget(client)
    shown = {name: made[name] for name in ("subject", "metric", "period", "amount", "used", "held", "left")}
    assert shown == {
        "subject": "organization",
        "metric": "usd",
        "period": "month",
        "amount": "50",
        "used": "0",
        "held": "0",
        "left": "50",
    }
    assert made["resets_at"].endswith("-01T00:00:00.000000Z")
    assert (await client.get(f"{BUDGETS}/{made['id']}")).json() == made
    changed = await client.patch(f"{BUDGETS}/{made['id']}", json={"amount": "0.25"})
    assert (changed.status_code, changed.json()["amount"]) == (200, "0.25")
    assert [each["id"] for each in (await client.get(BUDGETS)).json()["data"]] == [made["id"]]
    assert (await client.delete(f"{BUDGETS}/{made['id']}")).status_code == 204
    assert (await client.get(f"{BUDGETS}/{made['id']}")).status_code == 404


async def test_a_budget_of_each_run_has_no_state_of_its_own(client: Client) -> None:
    made = await set_budget(client, metric="tokens", period="run", amount=1000)
    assert (made["amount"], made["used"], made["left"], made["resets_at"]) == ("1000", None, None, None)


async def test_agents_and_keys_have_budgets(client: Client) -> None:
    agent = (await client.create_agent("support"))["id"]
    key = (await client.post("/api/v1/api-keys", json={"name": "cron"})).json()["id"]
    assert (await set_budget(client, agent_id=agent))["subject"] == "agent"
    assert (await set_budget(client, key_id=key))["subject"] == "api_key"
    assert (await set_budget(client))["subject"] == "organization"


async def test_there_is_one_budget_for_a_thing(client: Client) -> None:
    await set_budget(client)
    again = await client.post(BUDGETS, json={"metric": "usd", "period": "month", "amount": "60"})
    assert again.status_code == 409
    assert "change its amount" in again.json()["detail"]


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1e16", "", None, "0.000000001", [], -0.5])
async def test_what_is_no_amount_is_refused(client: Client, amount: Any) -> None:
    """Abuse 74."""
    refused = await client.post(BUDGETS, json={"metric": "usd", "period": "day", "amount": amount})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/amount"
    made = await set_budget(client)
    assert (await client.patch(f"{BUDGETS}/{made['id']}", json={"amount": amount})).status_code == 422
    assert (await client.get(f"{BUDGETS}/{made['id']}")).json()["amount"] == "50"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"metric": "tokens", "amount": "0.5"}, "/amount"),
        ({"metric": "runs", "period": "run"}, "/period"),
        ({"metric": "seats"}, "/metric"),
        ({"metric": "storage_bytes"}, "/metric"),
        ({"period": "year"}, "/period"),
        ({"agent_id": encode("agt", uuid7())}, "/agent_id"),
        ({"key_id": encode("key", uuid7())}, "/key_id"),
        ({"agent_id": encode("agt", uuid7()), "key_id": encode("key", uuid7())}, "/key_id"),
        ({"price": "0"}, "/price"),
        ({"plan": "enterprise"}, "/plan"),
    ],
)
async def test_a_budget_that_could_count_nothing_is_refused(
    client: Client, fields: dict[str, Any], pointer: str
) -> None:
    refused = await client.post(BUDGETS, json={"metric": "usd", "period": "day", "amount": "1", **fields})
    assert refused.status_code == 422, refused.text
    assert pointer in {each["pointer"] for each in refused.json()["errors"]}


async def test_another_organisations_agent_or_key_is_none_of_ones_own(client: Client, stranger: Client) -> None:
    """Abuse 35."""
    agent = (await stranger.create_agent("theirs"))["id"]
    key = (await stranger.post("/api/v1/api-keys", json={"name": "theirs"})).json()["id"]
    for field, theirs in (("agent_id", agent), ("key_id", key)):
        refused = await client.post(BUDGETS, json={"metric": "usd", "period": "day", "amount": "1", field: theirs})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == f"/{field}"


async def test_pages_of_budgets_follow_each_other(client: Client) -> None:
    made = [(await set_budget(client, period=period))["id"] for period in ("day", "month", "total")]
    first = (await client.get(BUDGETS, params={"limit": 2})).json()
    assert [each["id"] for each in first["data"]] == made[:0:-1]
    rest = (await client.get(BUDGETS, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [each["id"] for each in rest["data"]] == made[:1]
    assert not rest["has_more"]


async def quotas(client: Client) -> dict[str, Any]:
    answer = await client.get(f"/api/v1/organizations/{encode('org', client.actor.organization_id)}/quotas")
    assert answer.status_code == 200, answer.text
    return {each["metric"]: each for each in answer.json()["data"]}


async def test_quotas_are_without_limit_unless_the_operator_sets_one(client: Client, database: Database) -> None:
    found = await quotas(client)
    assert set(found) == {"runs", "tokens", "usd", "storage_bytes", "seats"}
    assert {each["amount"] for each in found.values()} == {None}
    assert (found["seats"]["used"], found["runs"]["used"]) == ("1", "0")
    organization_id = client.actor.organization_id
    async with database.system() as session:
        await service.set_quota(session, organization_id, Metric.RUNS, Decimal(1000))
        await service.set_quota(session, organization_id, Metric.SEATS, Decimal(3))
    found = await quotas(client)
    assert (found["runs"]["amount"], found["runs"]["left"], found["runs"]["period"]) == ("1000", "1000", "month")
    assert (found["seats"]["left"], found["seats"]["resets_at"]) == ("2", None)
    async with database.system() as session:
        await service.reset_quota(session, organization_id, Metric.RUNS)
    assert (await quotas(client))["runs"]["amount"] is None


async def test_no_request_changes_a_quota(client: Client) -> None:
    path = f"/api/v1/organizations/{encode('org', client.actor.organization_id)}/quotas"
    for method in ("PUT", "PATCH", "POST", "DELETE"):
        assert (await client.request(method, path, json={"runs": 10**9})).status_code == 405


async def test_a_quota_is_an_amount_of_an_organisation_that_exists(database: Database, client: Client) -> None:
    """Abuse 74."""
    for amount in ("-1", "NaN", "Infinity", "1e16"):
        with pytest.raises(Invalid):
            async with database.system() as session:
                await service.set_quota(session, client.actor.organization_id, Metric.USD, Decimal(amount))
    with pytest.raises(OrganizationNotFound):
        async with database.system() as session:
            await service.set_quota(session, uuid7(), Metric.USD, Decimal(1))
    assert (await quotas(client))["usd"]["amount"] is None


async def test_who_may_not_see_budgets_sees_none(client: Client, sign: Sign) -> None:
    made = await client.post("/api/v1/api-keys", json={"name": "narrow", "scopes": ["agent:*"]})
    narrow = {"Authorization": f"Bearer {made.json()['key']}"}
    organization = encode("org", client.actor.organization_id)
    for path in (
        BUDGETS,
        f"/api/v1/organizations/{organization}/quotas",
        f"/api/v1/organizations/{organization}/usage",
    ):
        assert (await client.get(path, headers=narrow)).status_code == 403, path
