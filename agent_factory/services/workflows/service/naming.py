"""Whether a caller may use the agents and workflows that a definition of his names (S49, abuse 46).

It is checked when the definition is written: whoever may run a workflow later
also runs what it names, as its author may.
"""

from collections.abc import Iterator
from typing import Any, cast

from agent_factory.database.session import ReadSession
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.agents import service as agents
from agent_factory.services.definitions import service as definitions
from agent_factory.services.workflows.rules import Placed, naming, placed
from agent_factory.services.workflows.service.kind import WORKFLOW


async def check_names(
    session: ReadSession, actor: Actor, definition: dict[str, Any], before: dict[str, Any] | None = None
) -> None:
    """Raise `Denied` unless a caller may run all that a definition names and the one before it did not."""
    if rbac.may(actor, "workflow:run") and rbac.may(actor, "agent:run"):
        return
    known = [] if before is None else list(_named(before))
    for kind, ref in _named(definition):
        if (kind, ref) in known:
            continue
        if kind == "workflow":
            await definitions.check_use(session, actor, WORKFLOW, cast("str", ref))
        elif isinstance(ref, dict):
            await agents.check_names(session, actor, ref)
        else:
            await definitions.check_use(session, actor, agents.AGENT, ref)


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
