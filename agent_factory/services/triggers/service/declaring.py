"""The trigger in a workflow's definition, which follows the workflow's life (S90, S100)."""

from agent_factory.core.workflow import Trigger
from agent_factory.database.models import TriggerRow
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.security.auth import Actor
from agent_factory.security.encryption import Vault
from agent_factory.services.triggers import queries
from agent_factory.services.triggers.rules.configs import declared
from agent_factory.services.triggers.rules.naming import declared_id
from agent_factory.services.triggers.service.changing import set_config, sign
from agent_factory.services.workflows import service as workflows


async def follow(vault: Vault, session: Session, actor: Actor, moved: workflows.Moved) -> None:
    """Do what a step in a workflow's life means for its triggers, in the transaction of that step.

    Deployed, it gets the trigger of the version that is deployed, or none;
    archived, it loses all of them. Raises `TriggerInvalid` with pointers below
    `/trigger/config`, or `Conflict` for a path that is taken: then nothing is
    deployed.
    """
    if moved.status == "archived":
        await queries.remove_all(session, actor, moved.workflow_id)
    elif moved.deployed is not None:
        await _declare(vault, session, actor, moved, moved.deployed.trigger)


async def _declare(vault: Vault, session: Session, actor: Actor, moved: workflows.Moved, trigger: Trigger) -> None:
    wanted = declared(trigger.type, trigger.config)
    row = await queries.trigger_to_change(session, actor, declared_id(moved.workflow_id))
    if wanted is None:
        if row is not None:
            await queries.remove(session, row)
        return
    kind, settings = wanted
    moment = now()
    config = settings.model_dump(mode="json", exclude_unset=True)
    if row is None:
        row = TriggerRow(
            id=declared_id(moved.workflow_id),
            organization_id=actor.organization_id,
            workflow_id=moved.workflow_id,
            enabled=True,
            created_by=actor.user_id,
            key_id=actor.key_id,
            created_at=moment,
            updated_at=moment,
        )
        set_config(row, kind, settings, moment)
        await sign(vault, row, settings, None)
        await queries.add(session, row)
    elif (row.type, row.config) != (kind, config):
        signed = row.sealed_secret is not None or row.secret is not None
        kept = signed and row.config.get("signature") == config.get("signature")
        set_config(row, kind, settings, moment)
        if not kept:
            await sign(vault, row, settings, None)
        row.updated_at = moment
        await queries.save(session, row)
