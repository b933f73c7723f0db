"""Whether a caller may use the agents and workflows that a definition of his names (S49, abuse 46).

It is checked when the definition is written: whoever may run a workflow later
also runs what it names, as its author may.
"""

from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

from agent_factory.core.agent import parse_agent
from agent_factory.database.session import ReadSession
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.agents import service as agents
from agent_factory.services.workflows import queries
from agent_factory.services.workflows.rules import Placed, naming, placed, workflow_ref

_RUN = "workflow:run"


async def check_use(session: ReadSession, actor: Actor, ref: str | UUID) -> None:
    """Raise `Denied` unless a caller may run a workflow, by id or name; of one that is not there nothing is said."""
    if rbac.may(actor, _RUN):
        return
    workflow_id, name = workflow_ref(ref)
    found = await queries.named(session, actor, workflow_id=workflow_id, name=name)
    if found is not None:
        rbac.check(actor, _RUN, found[0])


async def check_names(
    session: ReadSession, actor: Actor, definition: dict[str, Any], before: dict[str, Any] | None = None
) -> None:
    """Raise `Denied` unless a caller may run all that a definition names and the one before it did not."""
    if rbac.may(actor, _RUN) and rbac.may(actor, "agent:run"):
        return
    known = [] if before is None else list(_named(before))
    for kind, ref in _named(definition):
        if (kind, ref) in known:
            continue
        if kind == "workflow":
            await check_use(session, actor, cast("str", ref))
        elif isinstance(ref, dict):
            await agents.check_calls(session, actor, parse_agent(ref))
        else:
            await agents.check_use(session, actor, ref)


def _named(definition: dict[str, Any]) -> Iterator[tuple[str, str | dict[str, Any]]]:
    return (_of(task) for task in naming(placed(definition["tasks"])))


def _of(task: Placed) -> tuple[str, str | dict[str, Any]]:
    match task.type:
        case "agent":
            return "agent", task.config["agent"]
        case "tool":
            return "agent", task.config["config"]["agent"]
        case _:
            return "workflow", task.config["workflow"]
