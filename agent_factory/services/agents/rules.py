"""Pure decisions over agents."""

from collections.abc import Iterator

from agent_factory.core.agent import NEXT_STATUS, Agent, AgentStatus, ToolUse
from agent_factory.services.agents.errors import AgentArchived, NothingToRollBackTo, WrongStatus

AGENT_TOOL = "agent"
"""The tool through which an agent calls another; its setting `agent` names that one."""
DEEPEST = 5
"""Levels of agents below an agent."""
MOST_AGENTS = 50
"""Agents that one agent may bring along."""


def may_change(status: AgentStatus) -> None:
    """Raise `AgentArchived` for an agent that takes no changes any more."""
    if status is AgentStatus.ARCHIVED:
        raise AgentArchived("An archived agent cannot be changed; create a new one.")


def step(status: AgentStatus, to: AgentStatus) -> None:
    """Raise a conflict unless the life cycle leads from one status to the other."""
    may_change(status)
    if to not in NEXT_STATUS[status]:
        possible = ", ".join(sorted(NEXT_STATUS[status])) or "none"
        raise WrongStatus(f"The agent is {status} and cannot become {to}; possible are: {possible}.")


def earlier_version(deployed: int | None, wanted: int | None) -> int:
    """Choose the version that a rollback brings back: the wanted one, or the one before the deployed one."""
    if deployed is None:
        raise WrongStatus("The agent was never deployed, so there is nothing to roll back.")
    if wanted is None:
        wanted = deployed - 1
    if wanted < 1:
        raise NothingToRollBackTo("Version 1 is the first one.")
    if wanted >= deployed:
        raise WrongStatus(
            f"Version {wanted} is not earlier than version {deployed}, which is deployed; deploy it instead."
        )
    return wanted


def called_agents(agent: Agent) -> Iterator[tuple[int, str]]:
    """Give each agent that an agent calls, with the index of the tool that says so."""
    for index, use in enumerate(agent.tools):
        if isinstance(use, ToolUse) and use.use == AGENT_TOOL and isinstance(use.config.get("agent"), str):
            yield index, use.config["agent"]
