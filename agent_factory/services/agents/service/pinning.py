"""An agent fixed for one run, with every agent that it may call."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal
from uuid import UUID

import msgspec

from agent_factory.core.agent import Agent, AgentStatus, parse_agent
from agent_factory.database.session import ReadSession
from agent_factory.kit import ids
from agent_factory.kit.errors import FieldError
from agent_factory.security.auth import Actor
from agent_factory.services.agents import queries
from agent_factory.services.agents.errors import AgentNotDeployed, AgentNotFound, SubAgentsInvalid, VersionNotFound
from agent_factory.services.agents.rules import DEEPEST, MOST_AGENTS, called_agents

LATEST: Literal["latest"] = "latest"
"""Asks for the newest version, deployed or not: to try a draft."""


class Pinned(msgspec.Struct, frozen=True):
    """A version of an agent, and the definitions of all agents below it, by name."""

    agent_id: UUID
    version: int
    agent: Agent
    agents: dict[str, Agent]


async def pin(
    session: ReadSession, actor: Actor, ref: str | UUID, version: int | Literal["latest"] | None = None
) -> Pinned:
    """Fix what a run will use. `ref` is an id (`agt_…`) or a name.

    Whether the caller may use it is asked where it is used. Without a version
    it is the deployed one; raises `AgentNotDeployed`,
    `AgentNotFound`, `VersionNotFound`, or `SubAgentsInvalid` for agents below
    that call in a circle, are too deep or too many, or are not deployed.
    """
    agent_id, number, agent = await _one(session, actor, ref, version)
    return Pinned(agent_id, number, agent, await pin_below(session, actor, agent, version))


async def pin_below(
    session: ReadSession, actor: Actor, agent: Agent, version: int | Literal["latest"] | None = None
) -> dict[str, Agent]:
    """Fix every agent that a definition calls, by name; raises `SubAgentsInvalid` as `pin` does."""
    agents: dict[str, Agent] = {}
    await _below(session, actor, agent, agents, path=(agent.name,), version=version)
    return agents


async def _one(
    session: ReadSession, actor: Actor, ref: str | UUID, version: int | Literal["latest"] | None
) -> tuple[UUID, int, Agent]:
    agent_id = ref if isinstance(ref, UUID) else ids.decode("agt", ref) if ref.startswith("agt_") else None
    found = await queries.pinned(session, actor, agent_id=agent_id, name=str(ref))
    if found is None:
        raise AgentNotFound(f"There is no agent {str(ref)!r} in your organisation.")
    agent_id, status, latest, deployed = found
    number = latest if version == LATEST else version
    if number is None:
        if status != AgentStatus.DEPLOYED or deployed is None:
            raise AgentNotDeployed(f"The agent is {status}; deploy it, or ask for a version.")
        number = deployed
    text = await queries.definition_text(session, actor, agent_id, number)
    if text is None:
        raise VersionNotFound(f"The agent has no version {number}.")
    return agent_id, number, _read(text)


async def _below(
    session: ReadSession,
    actor: Actor,
    agent: Agent,
    agents: dict[str, Agent],
    *,
    path: tuple[str, ...],
    version: int | Literal["latest"] | None,
) -> None:
    for index, name in called_agents(agent):
        if name in path:
            raise _invalid(index, f"agents call each other in a circle: {_arrows((*path, name))}")
        if len(path) > DEEPEST:
            raise _invalid(index, f"agents are more than {DEEPEST} deep: {_arrows((*path, name))}")
        if name not in agents:
            if len(agents) >= MOST_AGENTS:
                raise _invalid(index, f"more than {MOST_AGENTS} agents below one")
            agents[name] = await _called(session, actor, name, index, version)
        await _below(session, actor, agents[name], agents, path=(*path, name), version=version)


async def _called(
    session: ReadSession, actor: Actor, name: str, index: int, version: int | Literal["latest"] | None
) -> Agent:
    try:
        return (await _one(session, actor, name, None))[2]
    except AgentNotDeployed:
        if version is None:
            raise _invalid(index, f"the agent {name!r} is not deployed") from None
        return (await _one(session, actor, name, LATEST))[2]
    except AgentNotFound:
        raise _invalid(index, f"there is no agent {name!r}") from None


def _invalid(index: int, detail: str) -> SubAgentsInvalid:
    return SubAgentsInvalid(
        "The agents below this one cannot be used; see the pointer.",
        errors=[FieldError(f"/tools/{index}/config/agent", detail)],
    )


def _arrows(path: Iterable[str]) -> str:
    return " → ".join(path)


@lru_cache(maxsize=1024)
def _read(text: str) -> Agent:
    """Parse a stored definition; the same text is read once, for versions never change."""
    return parse_agent(msgspec.json.decode(text))
