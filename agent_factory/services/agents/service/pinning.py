"""An agent fixed for one run, with every agent that it may call."""

from collections.abc import Iterable
from functools import lru_cache
from uuid import UUID

import msgspec

from agent_factory.core.agent import Agent, parse_agent
from agent_factory.database.session import ReadSession
from agent_factory.kit.errors import FieldError
from agent_factory.security.auth import Actor
from agent_factory.services.agents.errors import AgentNotDeployed, AgentNotFound, SubAgentsInvalid
from agent_factory.services.agents.rules import DEEPEST, MOST_AGENTS, called_agents
from agent_factory.services.agents.service.kind import AGENT
from agent_factory.services.definitions import service as definitions
from agent_factory.services.definitions.service import Wanted


class Pinned(msgspec.Struct, frozen=True):
    """A version of an agent, and the definitions of all agents below it, by name."""

    agent_id: UUID
    version: int
    agent: Agent
    agents: dict[str, Agent]


async def pin(session: ReadSession, actor: Actor, ref: str | UUID, version: Wanted = None) -> Pinned:
    """Fix what a run will use. `ref` is an id (`agt_…`) or a name.

    Whether the caller may use it is asked where it is used. Without a version
    it is the deployed one; raises `AgentNotDeployed`,
    `AgentNotFound`, `VersionNotFound`, or `SubAgentsInvalid` for agents below
    that call in a circle, are too deep or too many, or are not deployed.
    """
    agent_id, number, agent = await _one(session, actor, ref, version)
    return Pinned(agent_id, number, agent, await pin_below(session, actor, agent, version))


async def pin_below(session: ReadSession, actor: Actor, agent: Agent, version: Wanted = None) -> dict[str, Agent]:
    """Fix every agent that a definition calls, by name; raises `SubAgentsInvalid` as `pin` does."""
    agents: dict[str, Agent] = {}
    await _below(session, actor, agent, agents, path=(agent.name,), tried=version is not None)
    return agents


async def _one(
    session: ReadSession, actor: Actor, ref: str | UUID, version: Wanted, *, tried: bool = False
) -> tuple[UUID, int, Agent]:
    found = await definitions.find(session, actor, AGENT, ref)
    number = definitions.choose(AGENT, found, version, tried=tried)
    return found.id, number, _read(await definitions.read_text(session, actor, AGENT, found, number))


async def _below(
    session: ReadSession,
    actor: Actor,
    agent: Agent,
    agents: dict[str, Agent],
    *,
    path: tuple[str, ...],
    tried: bool,
) -> None:
    for index, name in called_agents(agent):
        if name in path:
            raise _invalid(index, f"agents call each other in a circle: {_arrows((*path, name))}")
        if len(path) > DEEPEST:
            raise _invalid(index, f"agents are more than {DEEPEST} deep: {_arrows((*path, name))}")
        if name not in agents:
            if len(agents) >= MOST_AGENTS:
                raise _invalid(index, f"more than {MOST_AGENTS} agents below one")
            agents[name] = await _called(session, actor, name, index, tried=tried)
        await _below(session, actor, agents[name], agents, path=(*path, name), tried=tried)


async def _called(session: ReadSession, actor: Actor, name: str, index: int, *, tried: bool) -> Agent:
    try:
        return (await _one(session, actor, name, None, tried=tried))[2]
    except AgentNotDeployed:
        raise _invalid(index, f"the agent {name!r} is not deployed") from None
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
