"""Whether a caller may use the agents that he names (S49, abuse 46).

What a definition names is checked when it is written: whoever may run an agent
later also runs those that it calls, as its author may.
"""

from typing import Any

from agent_factory.core.agent import parse_agent
from agent_factory.database.session import ReadSession
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.agents.rules import called_agents
from agent_factory.services.agents.service.kind import AGENT
from agent_factory.services.definitions import service as definitions


async def check_names(
    session: ReadSession, actor: Actor, definition: dict[str, Any], before: dict[str, Any] | None = None
) -> None:
    """Raise `Denied` unless a caller may run every agent that a definition calls and the one before it did not."""
    if rbac.may(actor, "agent:run"):
        return
    known = set[str]() if before is None else {name for _, name in called_agents(parse_agent(before))}
    for _, name in called_agents(parse_agent(definition)):
        if name not in known:
            await definitions.check_use(session, actor, AGENT, name)
