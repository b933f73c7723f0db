"""Schedules over HTTP, and the runs that their ticks start (S72, S90)."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.kit import ids
from agent_factory.kit.clock import now
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.scheduler.naming import named
from agent_factory.runtime.scheduler.scheduler import Tick
from agent_factory.services.triggers import service
from agent_factory.services.workflows.errors import WorkflowNotDeployed
from tests.services.triggers.parts import ECHO, TRIGGERS, eventually, runs_of, trigger
from tests.services.workflows.parts import create, until
from tests.serving import Client

SCHEDULES = "/api/v1/schedules"


@pytest.fixture
def platform(app: FastAPI) -> Platform:
    """What the application has open."""
    return app.state.platform


def tick_of(client: Client, workflow: str, made: dict[str, Any]) -> Tick:
    """Make the tick at which a trigger would have fired a day ago."""
    at = now() - timedelta(days=1)
    trigger_id = ids.decode("trg", made["id"])
    return Tick(
        key_id=None,
        trigger_id=trigger_id,
        organization_id=client.actor.organization_id,
        workflow_id=ids.decode("wf", workflow),
        user_id=client.actor.user_id,
        at=at,
        run_id=named(at, trigger_id),
        config=made["config"],
    )


async def test_a_schedule_shows_when_it_fires_next(client: Client, workflow: str) -> None:
    config = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "misfire": "skip"}
    made = await trigger(client, workflow, "cron", config=config)
    await trigger(client, workflow)
    (shown,) = (await client.get(SCHEDULES, params={"ticks": 8})).json()["data"]
    assert shown == (await client.get(f"{SCHEDULES}/{made['id']}", params={"ticks": 8})).json()
    expected = ("30 2 * * *", "Europe/Berlin", "skip", 0, True)
    assert tuple(shown[k] for k in ("cron", "timezone", "misfire", "jitter", "enabled")) == expected
    ticks = [datetime.fromisoformat(tick) for tick in shown["next_ticks"]]
    assert len(ticks) == 8
    assert shown["next_ticks"][0] == made["next_at"]
    assert ticks[0] > datetime.now(UTC)  # noqa: TID251 - the test's own look at the clock
    assert all(timedelta(hours=22) < b - a < timedelta(hours=26) for a, b in pairwise(ticks))
    await client.patch(f"{TRIGGERS}/{made['id']}", json={"enabled": False})
    assert (await client.get(f"{SCHEDULES}/{made['id']}")).json()["next_ticks"] == []


async def test_a_trigger_of_another_type_is_no_schedule(client: Client, workflow: str) -> None:
    made = await trigger(client, workflow)
    assert (await client.get(f"{SCHEDULES}/{made['id']}")).status_code == 404


async def test_what_is_changed_goes_on_from_now(client: Client, workflow: str) -> None:
    made = await trigger(client, workflow, "cron", config={"cron": "0 0 1 1 *"})
    changed = await client.patch(f"{TRIGGERS}/{made['id']}", json={"config": {"cron": "* * * * *"}})
    soon = datetime.fromisoformat(changed.json()["next_at"])
    assert now() - timedelta(minutes=1) < soon <= now() + timedelta(minutes=1)


async def test_a_tick_starts_a_run_once(platform: Platform, client: Client, workflow: str) -> None:
    made = await trigger(client, workflow, "cron", config={"cron": "0 8 * * *"})
    tick = tick_of(client, workflow, made)
    await asyncio.gather(*(service.fire(platform, tick) for _ in range(5)))
    (run,) = await runs_of(client, "cron")
    run = await until(client, run["id"], "completed")
    assert run["id"] == ids.encode("run", tick.run_id)
    assert datetime.fromisoformat(run["output"]["scheduled_at"]) == tick.at


async def test_a_schedule_may_say_what_its_runs_are_given(platform: Platform, client: Client, workflow: str) -> None:
    made = await trigger(client, workflow, "cron", config={"cron": "@daily", "input": {"report": "daily"}})
    tick = tick_of(client, workflow, made)
    await service.fire(platform, tick)
    run = await until(client, ids.encode("run", tick.run_id), "completed")
    assert run["output"] == {"report": "daily"}


async def test_a_workflow_that_is_out_of_service_is_not_started(platform: Platform, client: Client) -> None:
    draft = await create(client, ECHO, deploy=False)
    made = await trigger(client, draft, "cron", config={"cron": "@daily"})
    with pytest.raises(WorkflowNotDeployed):
        await service.fire(platform, tick_of(client, draft, made))


async def test_the_servers_own_scheduler_fires_what_is_due(platform: Platform, client: Client, workflow: str) -> None:
    made = await trigger(client, workflow, "cron", config={"cron": "* * * * *"})
    due = now().replace(second=0, microsecond=0)
    await platform.database.pool.execute(
        "update triggers set next_at = $2 where id = $1", ids.decode("trg", made["id"]), due
    )
    runs = await eventually(lambda: runs_of(client, "cron"))
    run = await until(client, runs[-1]["id"], "completed")
    assert datetime.fromisoformat(run["output"]["scheduled_at"]) >= due
    shown = (await client.get(f"{TRIGGERS}/{made['id']}")).json()
    assert datetime.fromisoformat(shown["last_at"]) >= due
