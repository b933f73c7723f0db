"""The trigger in a workflow's definition follows the workflow's life (S90, S100)."""

from typing import Any

import pytest

from tests.services.triggers.parts import ECHO, TRIGGERS, a_path, trigger
from tests.services.workflows.parts import create, faults, until
from tests.serving import Client


def declaring(kind: str, **config: Any) -> dict[str, Any]:
    return {**ECHO, "trigger": {"type": kind, "config": config}}


async def triggers(client: Client) -> list[dict[str, Any]]:
    return (await client.get(TRIGGERS)).json()["data"]


async def test_the_specifications_form_of_a_webhook_listens_once_it_is_deployed(client: Client, anyone: Client) -> None:
    """S100: path and method, word for word; S103: `input.message` is the request's."""
    definition = declaring("webhook", path="/webhook/customer-support", method="POST")
    definition["tasks"] = [{"id": "say", "type": "transform", "config": {"value": "{{input.message}}"}}]
    workflow = await create(client, definition, deploy=False)
    assert (await anyone.post("/webhook/customer-support", json={})).status_code == 404
    assert await triggers(client) == []
    assert (await client.post(f"/api/v1/workflows/{workflow}:deploy")).status_code == 200
    answer = await anyone.post("/webhook/customer-support", json={"message": "My parcel is late."})
    assert answer.status_code == 202
    assert (await until(client, answer.json()["run_id"], "completed"))["output"] == "My parcel is late."
    (made,) = await triggers(client)
    assert (made["declared"], made["path"], made["type"]) == (True, "/webhook/customer-support", "webhook")
    archived = await client.post(f"/api/v1/workflows/{workflow}:archive")
    assert archived.status_code == 200
    assert (await anyone.post("/webhook/customer-support", json={})).status_code == 404
    assert await triggers(client) == []


async def test_another_version_changes_the_trigger_and_a_rollback_brings_it_back(
    client: Client, anyone: Client
) -> None:
    first, second = a_path(), a_path()
    workflow = await create(client, declaring("webhook", path=first))
    before = (await triggers(client))[0]
    place = f"/api/v1/workflows/{workflow}"
    await client.put(place, json=declaring("webhook", path=second))
    assert (await anyone.post(f"/webhook/{first}", json={})).status_code == 202
    await client.post(f"{place}:deploy")
    assert [(t["id"], t["path"]) for t in await triggers(client)] == [(before["id"], f"/webhook/{second}")]
    assert (await anyone.post(f"/webhook/{first}", json={})).status_code == 404
    await client.post(f"{place}:rollback")
    assert (await anyone.post(f"/webhook/{first}", json={})).status_code == 202
    await client.put(place, json=ECHO)
    await client.post(f"{place}:deploy")
    assert await triggers(client) == []


async def test_deploying_again_keeps_what_people_have_set_and_what_was_made_for_it(client: Client) -> None:
    workflow = await create(client, declaring("webhook", signature="standard"))
    before = (await triggers(client))[0]
    place = f"{TRIGGERS}/{before['id']}"
    assert (await client.post(f"{place}:rotate-secret")).json()["secret"]
    disabled = (await client.patch(place, json={"enabled": False})).json()
    assert disabled["secret"] is None
    await client.post(f"/api/v1/workflows/{workflow}:deploy")
    after = (await triggers(client))[0]
    assert (after["path"], after["enabled"]) == (before["path"], False)


async def test_a_declared_trigger_changes_with_its_definition_only(client: Client) -> None:
    await create(client, declaring("cron", cron="@daily"))
    place = f"{TRIGGERS}/{(await triggers(client))[0]['id']}"
    for answer in (
        await client.patch(place, json={"config": {"cron": "@hourly"}}),
        await client.delete(place),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "trigger_declared")


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("cron", {"cron": "0 8 * * *", "timezone": "Asia/Tokyo"}, ("cron", None)),
        ("event", {"event": "order.*"}, ("event", {"event": "order.*"})),
        ("queue", {"queue": "orders"}, ("event", {"event": "queue.orders"})),
    ],
)
async def test_every_type_can_be_declared(
    client: Client, kind: str, config: dict[str, Any], expected: tuple[str, Any]
) -> None:
    await create(client, declaring(kind, **config))
    (made,) = await triggers(client)
    assert (made["type"], made["config"]) == (expected[0], expected[1] or config)


@pytest.mark.parametrize(
    ("kind", "config", "pointer"),
    [
        ("cron", {"cron": "often"}, "/trigger/config/cron"),
        ("webhook", {"path": "a b"}, "/trigger/config/path"),
        ("webhook", {"secret": "x"}, "/trigger/config/secret"),
        ("queue", {}, "/trigger/config/queue"),
        ("event", {"event": "a", "match": "("}, "/trigger/config/match"),
    ],
)
async def test_a_trigger_that_cannot_be_keeps_the_workflow_from_being_deployed(
    client: Client, kind: str, config: dict[str, Any], pointer: str
) -> None:
    workflow = await create(client, declaring(kind, **config), deploy=False)
    assert pointer in faults(await client.post(f"/api/v1/workflows/{workflow}:deploy"))
    assert (await client.get(f"/api/v1/workflows/{workflow}")).json()["status"] == "draft"
    assert await triggers(client) == []


async def test_a_path_that_is_taken_keeps_the_workflow_from_being_deployed(client: Client, stranger: Client) -> None:
    path = a_path()
    await trigger(stranger, await create(stranger, ECHO), config={"path": path})
    workflow = await create(client, declaring("webhook", path=path), deploy=False)
    assert (await client.post(f"/api/v1/workflows/{workflow}:deploy")).status_code == 409
    assert (await client.get(f"/api/v1/workflows/{workflow}")).json()["status"] == "draft"
