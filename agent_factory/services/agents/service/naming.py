"""Whether a caller may use the agents that he names (S49, abuse 46).

What a definition names is checked when it is written: whoever may run an agent
later also runs those that it calls, as its author may.
"""

from typing import Any
from uuid import UUID

from agent_factory.core.agent import Agent, parse_agent
from agent_factory.database.session import ReadSession
from agent_factory.kit import ids
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.agents import queries
from agent_factory.services.agents.rules import called_agents

_RUN = "agent:run"


async def check_use(session: ReadSession, actor: Actor, ref: str | UUID) -> None:
    """Raise `Denied` unless a caller may run an agent, by id or name; of one that is not there nothing is said."""
    if rbac.may(actor, _RUN):
        return
    agent_id = ref if isinstance(ref, UUID) else ids.decode("agt", ref) if ref.startswith("agt_") else None
    found = await queries.pinned(session, actor, agent_id=agent_id, name=str(ref))
    if found is not None:
        rbac.check(actor, _RUN, found[0])


async def check_calls(session: ReadSession, actor: Actor, agent: Agent, before: dict[str, Any] | None = None) -> None:
    """Raise `Denied` unless a caller may run every agent that a definition calls and the one before it did not."""
    if rbac.may(actor, _RUN):
        return
    known = set[str]() if before is None else {name for _, name in called_agents(parse_agent(before))}
    for _, name in called_agents(agent):
        if name not in known:
            await check_use(session, actor, name)
