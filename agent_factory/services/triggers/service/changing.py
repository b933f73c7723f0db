"""Triggers made and changed by people."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.api.etag import check, merge_patch
from agent_factory.api.paging import Paging
from agent_factory.database.models import TriggerRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit import ids
from agent_factory.kit.clock import now
from agent_factory.kit.errors import FieldError, NotFound
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.scheduler.misfires import spread
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.security.encryption import Vault
from agent_factory.services.definitions import service as definitions
from agent_factory.services.triggers import queries
from agent_factory.services.triggers.errors import TriggerDeclared, TriggerInvalid, TriggerUnsigned
from agent_factory.services.triggers.rules.configs import (
    Config,
    CronConfig,
    EventConfig,
    TriggerType,
    WebhookConfig,
    new_path,
    read_config,
)
from agent_factory.services.triggers.rules.naming import is_declared, place_of
from agent_factory.services.triggers.rules.signatures import key_of, new_secret
from agent_factory.services.triggers.service.reading import held
from agent_factory.services.workflows.errors import WorkflowArchived, WorkflowNotFound
from agent_factory.services.workflows.service import WORKFLOWS

_DECLARED = "Change the workflow's definition and deploy it; here the trigger can be enabled and disabled."


class Made(msgspec.Struct, frozen=True):
    """A trigger, and its secret where it was made now."""

    trigger: TriggerRow
    secret: str | None = None


def revision(row: TriggerRow) -> int:
    """Give the number that grows with every change by people; a schedule's ticks do not count."""
    return int(row.updated_at.timestamp() * 1_000_000)


async def create(
    session: Session,
    vault: Vault,
    actor: Actor,
    ref: str,
    *,
    kind: TriggerType,
    config: dict[str, Any],
    enabled: bool = True,
    secret: str | None = None,
) -> Made:
    """Make a trigger of a workflow that is named by id or name.

    It starts runs, so its author has to be allowed to. Raises `Denied`,
    `WorkflowNotFound`, `WorkflowArchived`, `TriggerInvalid`, or
    `Conflict` for a path that is taken.
    """
    workflow_id = await _workflow(session, actor, ref)
    rbac.check(actor, "workflow:edit", workflow_id)
    rbac.check(actor, "workflow:run", workflow_id)
    settings = read_config(kind, config)
    moment = now()
    row = TriggerRow(
        id=uuid7(),
        organization_id=actor.organization_id,
        workflow_id=workflow_id,
        enabled=enabled,
        created_by=actor.user_id,
        key_id=actor.key_id,
        created_at=moment,
        updated_at=moment,
    )
    set_config(row, kind, settings, moment)
    made = await sign(vault, row, settings, secret)
    await queries.add(session, row)
    return Made(row, made)


async def _workflow(session: ReadSession, actor: Actor, ref: str) -> UUID:
    try:
        row = (await definitions.get(session, actor, WORKFLOWS, ids.decode("wf", ref)))[0]
    except (NotFound, WorkflowNotFound):
        found = await definitions.list_definitions(
            session, actor, WORKFLOWS, Paging(1, None), name=ref, permission="workflow:edit"
        )
        if not found.data:
            raise WorkflowNotFound(f"There is no workflow {ref!r} in your organisation.") from None
        row = found.data[0]
    if row.status == "archived":
        raise WorkflowArchived("An archived workflow cannot be started.")
    return row.id


async def patch(
    session: Session,
    vault: Vault,
    actor: Actor,
    trigger_id: UUID,
    *,
    config: dict[str, Any] | None = None,
    enabled: bool | None = None,
    if_match: str | None = None,
) -> Made:
    """Change a trigger; raises `TriggerNotFound`, `TriggerDeclared`, `TriggerInvalid` or `PreconditionFailed`.

    A schedule that is changed or enabled goes on from now: nothing of before is made up for.
    """
    row = await held(session, actor, trigger_id)
    check(if_match, revision(row))
    if config is not None and is_declared(row.id, row.workflow_id):
        raise TriggerDeclared(_DECLARED)
    if config is None and enabled is None:
        return Made(row)
    moment = now()
    kind = TriggerType(row.type)
    settings = read_config(kind, merge_patch(row.config, config or {}))
    kept = row.config.get("signature") == getattr(settings, "signature", None)
    if enabled is not None:
        row.enabled = enabled
    set_config(row, kind, settings, moment)
    made = None if kept else await sign(vault, row, settings, None)
    row.updated_at = moment
    await queries.save(session, row)
    return Made(row, made)


async def delete(session: Session, actor: Actor, trigger_id: UUID, *, if_match: str | None = None) -> None:
    """Remove a trigger; raises `TriggerNotFound`, or `TriggerDeclared` for one of a definition."""
    row = await held(session, actor, trigger_id)
    check(if_match, revision(row))
    if is_declared(row.id, row.workflow_id):
        raise TriggerDeclared(_DECLARED)
    await queries.remove(session, row)


async def rotate(session: Session, vault: Vault, actor: Actor, trigger_id: UUID, secret: str | None = None) -> Made:
    """Give a webhook another secret; the one before is worth nothing from then on.

    Raises `TriggerNotFound`, or `TriggerUnsigned` for a trigger that has none.
    """
    row = await held(session, actor, trigger_id)
    settings = read_config(TriggerType(row.type), row.config)
    if not isinstance(settings, WebhookConfig) or settings.signature is None:
        raise TriggerUnsigned("Only a webhook with a `signature` in its settings has a secret.")
    made = await sign(vault, row, settings, secret)
    row.updated_at = now()
    await queries.save(session, row)
    return Made(row, made)


def set_config(row: TriggerRow, kind: TriggerType, settings: Config, moment: datetime) -> None:
    """Write settings into a trigger's row, with what is looked up by; a webhook without a path keeps its own."""
    before = row.path
    row.type = kind
    row.path = row.method = row.event_type = row.timezone = row.misfire = row.next_at = None
    match settings:
        case WebhookConfig():
            row.path, row.method = settings.path or before or new_path(), settings.method
        case CronConfig():
            row.timezone, row.misfire = settings.timezone, settings.misfire
            later = spread(row.id, settings.jitter)
            tick = settings.schedule().after(moment - later)
            row.next_at = tick and tick + later
        case EventConfig():
            row.event_type = settings.event
    row.config = settings.model_dump(mode="json", exclude_unset=True)


async def sign(vault: Vault, row: TriggerRow, settings: Config, secret: str | None) -> str | None:
    """Keep the key of a signed webhook, sealed; without a `secret` one is made, and given."""
    signature = settings.signature if isinstance(settings, WebhookConfig) else None
    row.secret = row.sealed_secret = None
    if signature is None:
        if secret is not None:
            fault = FieldError("/secret", "only a webhook with a `signature` has a secret")
            raise TriggerInvalid("The trigger has no use for a secret.", errors=[fault])
        return None
    chosen = secret or new_secret(signature)
    row.sealed_secret = await vault.encrypt(row.organization_id, place_of(row.id), key_of(signature, chosen))
    return None if secret else chosen
