"""What tests of the scheduler are made of: schedules in a database, a clock that is told the time, counted runs."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from agent_factory.core.workflow import flow_of
from agent_factory.database.models import OrganizationRow, TriggerRow, WorkflowRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.queue.queue import Queue, StartRun
from agent_factory.runtime.scheduler.scheduler import Fire, Scheduler, Tick
from agent_factory.runtime.scheduler.settings import SchedulerSettings
from agent_factory.runtime.scheduler.zoned import read_schedule

START = datetime(2026, 5, 4, 8, 0, 30, tzinfo=UTC)
"""A Monday."""

FLOW = flow_of({"name": "nothing", "tasks": [{"id": "nothing", "type": "transform", "config": {"value": 1}}]})


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


class Clock:
    """A clock that shows what it is told to."""

    def __init__(self, moment: datetime = START) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment


class Starts:
    """Starts a run for each tick as the product does, and counts how often it was asked to."""

    def __init__(self, database: Database) -> None:
        self._queue = Queue(database)
        self.asked: list[Tick] = []

    async def __call__(self, tick: Tick) -> None:
        self.asked.append(tick)
        await self._queue.start(
            StartRun(organization_id=tick.organization_id, flow=FLOW, id=tick.run_id, trigger="cron")
        )


async def organization(database: Database) -> tuple[UUID, UUID]:
    """Make an organisation with a workflow, and give the ids of both."""
    organization_id, workflow_id = uuid7(), uuid7()
    async with database.system() as session:
        session.add(OrganizationRow(id=organization_id, name="acme"))
    async with database.write(organization_id) as session:
        session.add(WorkflowRow(id=workflow_id, organization_id=organization_id, name="nothing"))
    return organization_id, workflow_id


async def schedule(
    database: Database,
    owner: tuple[UUID, UUID],
    cron: str = "* * * * *",
    *,
    start: datetime = START,
    misfire: str = "once",
    timezone: str = "UTC",
    **more: Any,
) -> UUID:
    """Make a schedule that is due at its first tick after `start`."""
    row = TriggerRow(
        id=more.pop("id", None) or uuid7(),
        organization_id=owner[0],
        workflow_id=owner[1],
        type="cron",
        config={"cron": cron, **more.pop("config", {})},
        timezone=timezone,
        misfire=misfire,
        next_at=more.pop("next_at", None) or read_schedule(cron, timezone).after(start),
        **more,
    )
    async with database.write(owner[0]) as session:
        session.add(row)
    return row.id


def scheduler(database: Database, clock: Clock, fire: Fire, at_once: int = 50) -> Scheduler:
    return Scheduler(database, fire, SchedulerSettings(poll=0.02, at_once=at_once), clock)


async def ticks(database: Database, trigger_id: UUID | None = None) -> list[tuple[datetime, UUID | None]]:
    """List the recorded ticks, of one schedule or of all, in order."""
    rows = await database.pool.fetch(
        "select tick_at, run_id from trigger_ticks where $1::uuid is null or trigger_id = $1 order by tick_at",
        trigger_id,
    )
    return [(row["tick_at"], row["run_id"]) for row in rows]


async def runs(database: Database) -> set[UUID]:
    """Give the ids of all runs."""
    return {row["id"] for row in await database.pool.fetch("select id from runs")}


async def next_at(database: Database, trigger_id: UUID) -> datetime | None:
    return await database.pool.fetchval("select next_at from triggers where id = $1", trigger_id)
