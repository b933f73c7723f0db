"""Events that start workflows: once for each event and trigger (S90)."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.kit import ids
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.queue.events import Event
from agent_factory.services.triggers import service
from tests.services.triggers.parts import ECHO, TRIGGERS, eventually, runs_of, trigger
from tests.services.workflows.parts import create, until
from tests.serving import Client


@pytest.fixture
def platform(app: FastAPI) -> Platform:
    """What the application has open."""
    return app.state.platform


async def tell(platform: Platform, client: Client, kind: str, data: Any = None, key: str | None = None) -> Event:
    """Tell an event, and wait until everybody has heard of it."""
    organization_id = client.actor.organization_id
    told = await platform.queue.tell(organization_id, kind, data, key=key)
    sql = "select created_at from events where id = $1 and handled_at is not null"
    at = await eventually(lambda: platform.database.pool.fetchval(sql, told))
    return Event(told, organization_id, kind, data, None, at)


async def started(client: Client) -> list[Any]:
    """Give the data of the events that have started runs, oldest first."""
    found = [await until(client, run["id"], "completed") for run in await runs_of(client, "event")]
    return [run["input"]["data"] for run in reversed(found)]


async def test_an_event_starts_a_run_that_sees_it(platform: Platform, client: Client, workflow: str) -> None:
    await trigger(client, workflow, "event", config={"event": "order.paid"})
    event = await tell(platform, client, "order.paid", {"total": 12})
    await tell(platform, client, "order.sent", {"total": 13})
    (run,) = await runs_of(client, "event")
    run = await until(client, run["id"], "completed")
    output = run["output"]
    assert (output["id"], output["type"], output["data"]) == (ids.encode("evt", event.id), "order.paid", {"total": 12})
    assert output["run_id"] is None


async def test_only_events_that_match_start_a_run(platform: Platform, client: Client, workflow: str) -> None:
    match = "event.total > 10 and type == 'order.paid'"
    await trigger(client, workflow, "event", config={"event": "order.*", "match": match})
    for kind, data in (
        ("order.paid", {"total": 9}),
        ("order.paid", {"total": 11}),
        ("order.sent", {"total": 12}),
        ("order.paid", "no object"),
        ("order.paid", {"total": "many"}),
        ("orders", {"total": 12}),
    ):
        await tell(platform, client, kind, data)
    assert await started(client) == [{"total": 11}]


async def test_a_star_hears_of_every_event_of_its_kind(platform: Platform, client: Client, workflow: str) -> None:
    for kind in ("*", "a.*", "a.b.*", "a.b.c"):
        await trigger(client, workflow, "event", config={"event": kind})
    for kind, heard in (("a.b.c", 4), ("a.b", 2), ("a.c.d", 2), ("b", 1)):
        before = len(await runs_of(client, "event"))
        await tell(platform, client, kind, kind)
        assert len(await runs_of(client, "event")) - before == heard, kind


async def test_an_event_that_is_brought_twice_starts_one_run_for_each_trigger(
    platform: Platform, client: Client, workflow: str
) -> None:
    for _ in range(3):
        await trigger(client, workflow, "event", config={"event": "order.paid"})
    event = await tell(platform, client, "order.paid", 1, "order-1")
    await asyncio.gather(*(service.hear(platform, event) for _ in range(5)))
    assert (await tell(platform, client, "order.paid", 2, "order-1")).id == event.id
    assert await started(client) == [1, 1, 1]


async def test_a_trigger_hears_of_nothing_that_was_before_it_or_is_anothers(
    platform: Platform, client: Client, stranger: Client, workflow: str
) -> None:
    event = await tell(platform, client, "order.paid", 1)
    disabled = await trigger(client, workflow, "event", config={"event": "order.paid"}, enabled=False)
    await trigger(client, workflow, "event", config={"event": "order.paid"})
    await service.hear(platform, event)
    await tell(platform, stranger, "order.paid", 2)
    assert await runs_of(client, "event") == []
    await client.patch(f"{TRIGGERS}/{disabled['id']}", json={"enabled": True})
    await tell(platform, client, "order.paid", 3)
    assert await started(client) == [3, 3]


async def test_a_workflow_that_cannot_be_started_holds_up_no_event(
    platform: Platform, client: Client, workflow: str
) -> None:
    draft = await create(client, {**ECHO, "name": "draft"}, deploy=False)
    await trigger(client, draft, "event", config={"event": "order.paid"})
    await trigger(client, workflow, "event", config={"event": "order.paid"})
    await tell(platform, client, "order.paid", 1)
    assert await started(client) == [1]


async def test_an_emit_task_starts_others_but_not_its_own_workflow(platform: Platform, client: Client) -> None:
    emitting = {
        "name": "emitting",
        "tasks": [{"id": "tell", "type": "emit", "config": {"type": "order.paid", "data": 7}}],
    }
    own = await create(client, emitting)
    other = await create(client, ECHO)
    for workflow in (own, other):
        await trigger(client, workflow, "event", config={"event": "order.*"})
    hook = await trigger(client, own)
    assert (await client.post(hook["path"], json={})).status_code == 202
    heard = "select count(*) from events where organization_id = $1 and handled_at is not null"
    await eventually(lambda: platform.database.pool.fetchval(heard, client.actor.organization_id))
    runs = await runs_of(client, "event")
    assert [run["workflow_id"] for run in runs] == [other]
    run = await until(client, runs[0]["id"], "completed")
    assert run["output"]["data"] == 7
    assert run["output"]["run_id"] == (await runs_of(client, "webhook"))[0]["id"]
