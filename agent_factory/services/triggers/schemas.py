"""What travels about triggers and schedules, and what a webhook answers."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StrictBool, StringConstraints, WithJsonSchema

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, Moment, Output
from agent_factory.database.models import TriggerRow
from agent_factory.services.triggers.rules.configs import PREFIX, TriggerType
from agent_factory.services.triggers.rules.naming import is_declared

TriggerId = Annotated[UUID, Id("trg")]
WorkflowId = Annotated[UUID, Id("wf")]
UserId = Annotated[UUID, Id("usr")]
RunId = Annotated[UUID, Id("run")]

Config = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "description": "What the type takes."})]
Secret = Annotated[str, StringConstraints(min_length=16, max_length=200)]


class TriggerCreate(Input):
    """A way into a workflow, named by id or name. Without a `secret`, one is made where requests are signed."""

    workflow: str = Field(min_length=1, max_length=255)
    type: TriggerType
    config: Config = Field(default_factory=dict)
    enabled: StrictBool = True
    secret: Secret | None = None


class TriggerPatch(Input):
    """What may be changed; `config` is a merge patch (RFC 7396)."""

    config: Config | None = None
    enabled: StrictBool | None = None


class Rotation(Input):
    """A new secret: the sender's, or one that is made here."""

    secret: Secret | None = None


class TriggerOut(Output):
    """A way into a workflow. One that is `declared` is part of the workflow's definition.

    `path` is where a webhook listens, and `next_at` when a schedule fires next.
    """

    id: TriggerId
    workflow_id: WorkflowId
    type: TriggerType
    config: dict[str, Any]
    enabled: bool
    declared: bool
    path: str | None
    next_at: Moment | None
    last_at: Moment | None
    created_by: UserId | None
    created_at: Moment
    updated_at: Moment


class TriggerMade(TriggerOut):
    """A trigger, and its `secret` where it was made now: it is shown in this answer and in no other."""

    secret: str | None


class TriggerPage(PageOf[TriggerOut]):
    """A page of triggers."""


class ScheduleOut(Output):
    """A trigger of type cron, and when it will fire: a tick is moved by the trigger's share of `jitter`."""

    id: TriggerId
    workflow_id: WorkflowId
    cron: str
    timezone: str
    misfire: str
    jitter: int
    enabled: bool
    last_at: Moment | None
    next_ticks: list[Moment]


class SchedulePage(PageOf[ScheduleOut]):
    """A page of schedules."""


class WebhookAccepted(Output):
    """The run that a request has started; `output` and `error` only where the webhook responds with results."""

    run_id: RunId
    status: str
    output: Any
    error: dict[str, Any] | None


def trigger_fields(row: TriggerRow) -> dict[str, Any]:
    """Give a trigger's row as it is shown."""
    shown = {name: getattr(row, name) for name in TriggerOut.model_fields if name not in ("declared", "path")}
    path = None if row.path is None else PREFIX + row.path
    return {**shown, "declared": is_declared(row.id, row.workflow_id), "path": path}


def schedule_fields(row: TriggerRow, ticks: list[datetime]) -> dict[str, Any]:
    """Give a schedule's row as it is shown, with its next ticks."""
    shown = {name: getattr(row, name) for name in ("id", "workflow_id", "timezone", "misfire", "enabled", "last_at")}
    return {**shown, "cron": row.config["cron"], "jitter": row.config.get("jitter", 0), "next_ticks": ticks}
