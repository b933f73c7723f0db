"""HTTP for triggers and schedules."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader, Writer
from agent_factory.api.etag import IfMatch, etag
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import SHOWN_ONCE, router
from agent_factory.api.schemas import Id
from agent_factory.database.models import TriggerRow
from agent_factory.kit import ids
from agent_factory.services.triggers import service
from agent_factory.services.triggers.rules.configs import TriggerType
from agent_factory.services.triggers.schemas import (
    Rotation,
    ScheduleOut,
    SchedulePage,
    TriggerCreate,
    TriggerMade,
    TriggerOut,
    TriggerPage,
    TriggerPatch,
    WorkflowId,
    schedule_fields,
    trigger_fields,
)

triggers = router("/api/v1/triggers", "triggers")
schedules = router("/api/v1/schedules", "schedules")

TriggerPath = Annotated[UUID, Id("trg", in_path=True)]
Ticks = Annotated[int, Query(ge=1, le=100, description="How many of the next ticks are shown.")]


@triggers.post("", status_code=201, openapi_extra={SHOWN_ONCE: True})
@needs("workflow:edit", inside=True)
async def create(
    session: Writer, actor: ActorDep, platform: PlatformDep, body: TriggerCreate, response: Response
) -> TriggerMade:
    """Make a trigger. A secret that is made here is in this answer and in no other."""
    made = await service.create(
        session,
        platform.vault,
        actor,
        body.workflow,
        kind=body.type,
        config=body.config,
        enabled=body.enabled,
        secret=body.secret,
    )
    response.headers["Location"] = f"/api/v1/triggers/{ids.encode('trg', made.trigger.id)}"
    return _made(made, response)


@triggers.get("")
@needs("workflow:read", inside=True)
async def list_(
    session: Reader,
    actor: ActorDep,
    paging: PagingDep,
    type: Annotated[TriggerType | None, Query()] = None,  # noqa: A002 - the field's name
    workflow_id: Annotated[WorkflowId | None, Query()] = None,
) -> TriggerPage:
    """List triggers, newest first."""
    found = await service.list_triggers(session, actor, paging.limit, paging.after, kind=type, workflow_id=workflow_id)
    data = [TriggerOut(**trigger_fields(row)) for row in found.data]
    return TriggerPage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)


@triggers.get("/{trigger_id}")
@needs("workflow:read", inside=True)
async def get(session: Reader, actor: ActorDep, trigger_id: TriggerPath, response: Response) -> TriggerOut:
    """Show a trigger."""
    row = await service.get(session, actor, trigger_id)
    response.headers["ETag"] = etag(service.revision(row))
    return TriggerOut(**trigger_fields(row))


@triggers.patch("/{trigger_id}")
@needs("workflow:edit", inside=True)
async def update(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    trigger_id: TriggerPath,
    body: TriggerPatch,
    response: Response,
    if_match: IfMatch = None,
) -> TriggerMade:
    """Change a trigger's settings, or enable or disable it; a signature that is new gets a secret, shown once."""
    made = await service.patch(
        session, platform.vault, actor, trigger_id, config=body.config, enabled=body.enabled, if_match=if_match
    )
    return _made(made, response)


@triggers.delete("/{trigger_id}", status_code=204)
@needs("workflow:edit", inside=True)
async def delete(session: Writer, actor: ActorDep, trigger_id: TriggerPath, if_match: IfMatch = None) -> None:
    """Remove a trigger; its path is free for anybody then, so disable a webhook that others still call."""
    await service.delete(session, actor, trigger_id, if_match=if_match)


@triggers.post("/{trigger_id}:rotate-secret", openapi_extra={SHOWN_ONCE: True})
@needs("workflow:edit", inside=True)
async def rotate_secret(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    trigger_id: TriggerPath,
    response: Response,
    body: Rotation | None = None,
) -> TriggerMade:
    """Give a webhook another secret; one that is made here is in this answer and in no other."""
    made = await service.rotate(session, platform.vault, actor, trigger_id, body.secret if body else None)
    return _made(made, response)


@schedules.get("", name="list_")
@needs("workflow:read", inside=True)
async def list_schedules(session: Reader, actor: ActorDep, paging: PagingDep, ticks: Ticks = 5) -> SchedulePage:
    """List schedules, newest first, with the moments at which they fire next."""
    found = await service.list_triggers(session, actor, paging.limit, paging.after, kind=TriggerType.CRON)
    data = [_schedule(row, ticks) for row in found.data]
    return SchedulePage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)


@schedules.get("/{trigger_id}", name="get")
@needs("workflow:read", inside=True)
async def get_schedule(session: Reader, actor: ActorDep, trigger_id: TriggerPath, ticks: Ticks = 5) -> ScheduleOut:
    """Show a schedule, with the moments at which it fires next."""
    return _schedule(await service.get_schedule(session, actor, trigger_id), ticks)


def _made(made: service.Made, response: Response) -> TriggerMade:
    response.headers["ETag"] = etag(service.revision(made.trigger))
    return TriggerMade(**trigger_fields(made.trigger), secret=made.secret)


def _schedule(row: TriggerRow, ticks: int) -> ScheduleOut:
    return ScheduleOut(**schedule_fields(row, service.next_ticks(row, ticks)))
