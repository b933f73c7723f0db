"""Pure decisions over agents."""

from collections.abc import Iterator

from agent_factory.core.agent import Agent, ToolUse

AGENT_TOOL = "agent"
"""The tool through which an agent calls another; its setting `agent` names that one."""
DEEPEST = 5
"""Levels of agents below an agent."""
MOST_AGENTS = 50
"""Agents that one agent may bring along."""


def called_agents(agent: Agent) -> Iterator[tuple[int, str]]:
    """Give each agent that an agent calls, with the index of the tool that says so."""
    for index, use in enumerate(agent.tools):
        if isinstance(use, ToolUse) and use.use == AGENT_TOOL and isinstance(use.config.get("agent"), str):
            yield index, use.config["agent"]
