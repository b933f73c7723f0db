"""How workflows are kept and live: as every kind of definitions does, with news of what is in service."""

from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.agent import AgentStatus
from agent_factory.core.workflow import Workflow
from agent_factory.database.session import ReadSession
from agent_factory.runtime.compile import Resources
from agent_factory.security.auth import Actor
from agent_factory.services.definitions.service import Definitions
from agent_factory.services.workflows.service.checking import checked
from agent_factory.services.workflows.service.kind import WORKFLOW
from agent_factory.services.workflows.service.naming import check_names


class Moved(msgspec.Struct, frozen=True):
    """News that a workflow was deployed, in another version or again, or archived; `deployed` is what is in service."""

    workflow_id: UUID
    status: AgentStatus
    deployed: Workflow | None


async def _checked(
    session: ReadSession, actor: Actor, resources: Resources, definition: dict[str, Any], own_id: UUID | None
) -> Workflow:
    return (await checked(session, actor, resources, definition, own_id)).flow.workflow


WORKFLOWS = Definitions(kind=WORKFLOW, checked=_checked, check_names=check_names, news=Moved)
