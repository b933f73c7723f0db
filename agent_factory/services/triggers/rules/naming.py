"""The ids of the triggers that workflows declare, each workflow one; and where a trigger's secret is sealed for."""

from datetime import UTC, datetime
from uuid import UUID

from agent_factory.runtime.scheduler.naming import named
from agent_factory.security.encryption import Place

_CAUSE = "the trigger of a definition"


def declared_id(workflow_id: UUID) -> UUID:
    """Give the id of the trigger in a workflow's definition."""
    return named(datetime.fromtimestamp((workflow_id.int >> 80) / 1000, UTC), workflow_id, _CAUSE)


def is_declared(trigger_id: UUID, workflow_id: UUID) -> bool:
    """Tell whether a trigger is that of its workflow's definition."""
    return trigger_id == declared_id(workflow_id)


def place_of(trigger_id: UUID) -> Place:
    """Give the place that the key of a webhook's signatures is sealed for."""
    return Place("triggers", "sealed_secret", trigger_id)
