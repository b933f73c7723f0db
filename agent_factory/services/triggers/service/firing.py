"""Runs that schedules and events start (S72, S90)."""

from typing import Any

import structlog

from agent_factory.core.expressions import ExpressionFailed, compile_expression
from agent_factory.kit import ids
from agent_factory.kit.clock import rfc3339
from agent_factory.kit.errors import NotFound, Problem
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.queue.events import Event
from agent_factory.runtime.scheduler.naming import named
from agent_factory.runtime.scheduler.scheduler import Tick
from agent_factory.services.triggers import queries
from agent_factory.services.triggers.queries import Found
from agent_factory.services.triggers.rules.configs import CronConfig, EventConfig, heard_as
from agent_factory.services.workflows import service as workflows

log = structlog.stdlib.get_logger(__name__)


async def fire(platform: Platform, tick: Tick) -> None:
    """Start the run of a schedule's tick, once for each tick."""
    config = CronConfig.model_validate(tick.config)
    given = {"scheduled_at": rfc3339(tick.at)} if config.input is None else config.input
    await workflows.start(
        platform,
        tick.organization_id,
        tick.workflow_id,
        document=given,
        user_id=tick.user_id,
        key_id=tick.key_id,
        trigger="cron",
        source="cron",
        run_id=tick.run_id,
    )


async def hear(platform: Platform, event: Event) -> None:
    """Start the runs of the triggers that an event meets, once for each of them.

    What cannot be started is logged; only what may succeed later is raised, so
    that the event is brought again.
    """
    pool = platform.database.pool
    for found in await queries.hearing(pool, event.organization_id, heard_as(event.type), event.created_at):
        config = EventConfig.model_validate(found.config)
        if not _meets(event, config) or (not config.own and await _own(platform, event, found)):
            continue
        try:
            await workflows.start(
                platform,
                event.organization_id,
                found.workflow_id,
                document=_told(event),
                user_id=found.created_by,
                key_id=found.key_id,
                trigger="event",
                source="event",
                run_id=named(event.created_at, found.id, event.id),
            )
        except Problem as problem:
            if problem.retryable:
                raise
            log.warning("an event started no run", trigger_id=str(found.id), reason=problem.detail)


def _meets(event: Event, config: EventConfig) -> bool:
    if config.match is None:
        return True
    try:
        return bool(compile_expression(config.match)({"event": event.data, "type": event.type}))
    except ExpressionFailed:
        return False  # what the trigger asks for is nothing that this event has


async def _own(platform: Platform, event: Event, found: Found) -> bool:
    """Tell whether a run of the same workflow has told the event: it would start itself without end."""
    if event.source_run is None:
        return False
    try:
        run = await platform.queue.run(event.organization_id, event.source_run)
    except NotFound:
        return False
    return run.workflow_id == found.workflow_id


def _told(event: Event) -> dict[str, Any]:
    return {
        "id": ids.encode("evt", event.id),
        "type": event.type,
        "time": rfc3339(event.created_at),
        "data": event.data,
        "run_id": None if event.source_run is None else ids.encode("run", event.source_run),
    }
