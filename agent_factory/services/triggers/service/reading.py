"""Triggers and schedules, looked up."""

from datetime import datetime
from uuid import UUID

from agent_factory.database.models import TriggerRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.pages import Page
from agent_factory.runtime.scheduler.misfires import spread
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.triggers import queries
from agent_factory.services.triggers.errors import TriggerNotFound
from agent_factory.services.triggers.rules.configs import CronConfig, TriggerType

_ABSENT = "There is no such trigger in your organisation."


async def get(session: ReadSession, actor: Actor, trigger_id: UUID) -> TriggerRow:
    """Find a trigger of a workflow that the caller may read; raises `TriggerNotFound` or `Denied`."""
    row = await queries.trigger(session, actor, trigger_id)
    if row is None:
        raise TriggerNotFound(_ABSENT)
    rbac.check(actor, "workflow:read", row.workflow_id)
    return row


async def held(session: Session, actor: Actor, trigger_id: UUID) -> TriggerRow:
    """Find a trigger of a workflow that the caller may edit, and hold it until the transaction ends.

    Raises `TriggerNotFound` or `Denied`.
    """
    row = await queries.trigger_to_change(session, actor, trigger_id)
    if row is None:
        raise TriggerNotFound(_ABSENT)
    rbac.check(actor, "workflow:edit", row.workflow_id)
    return row


async def list_triggers(
    session: ReadSession,
    actor: Actor,
    limit: int,
    after: UUID | None,
    *,
    kind: TriggerType | None = None,
    workflow_id: UUID | None = None,
) -> Page[TriggerRow]:
    """List the triggers of workflows that the caller may read, newest first."""
    only = rbac.reach(actor, "workflow:read")
    return await queries.triggers(session, actor, limit, after, kind=kind, workflow_id=workflow_id, only=only)


async def get_schedule(session: ReadSession, actor: Actor, trigger_id: UUID) -> TriggerRow:
    """Find a trigger of type cron; raises `TriggerNotFound`."""
    row = await get(session, actor, trigger_id)
    if row.type != TriggerType.CRON:
        raise TriggerNotFound("The trigger is no schedule.")
    return row


def next_ticks(row: TriggerRow, count: int) -> list[datetime]:
    """Give when a schedule will fire next; nothing for one that is not enabled."""
    if not row.enabled:
        return []
    config = CronConfig.model_validate(row.config)
    later = spread(row.id, config.jitter)
    return [tick + later for tick in config.schedule().ticks(now() - later, count)]
