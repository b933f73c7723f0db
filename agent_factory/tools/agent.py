"""Another agent as a tool: it gets a message and gives its answer."""

from collections.abc import Awaitable, Callable

from pydantic import Field

from agent_factory.core.agent import NAME
from agent_factory.core.plugin import Settings, ToolPlugin
from agent_factory.core.tool import Tool, ToolContext

_TIMEOUT = 3_600.0
"""Seconds; the agent's own limits end it long before."""


class AgentSettings(Settings):
    """Which agent is asked, and what the model is told of it."""

    agent: str = Field(pattern=NAME, description="Name of the agent.")
    description: str = Field(default="", max_length=2_000, description="What it is good for.")


_PARAMETERS = {
    "type": "object",
    "properties": {
        "message": {
            "type": "string",
            "minLength": 1,
            "maxLength": 100_000,
            "description": "The task with all that the other needs to know; it does not see this conversation.",
        }
    },
    "required": ["message"],
    "additionalProperties": False,
}


async def _make(settings: AgentSettings, name: str | None, _context: ToolContext) -> list[Tool]:
    async def ask(message: str, context: ToolContext) -> str:
        run: Callable[[str, str], Awaitable[str]] = context.need("run_agent", plugin.name)
        return await run(settings.agent, message)

    description = settings.description or f"Hands a task to the agent {settings.agent!r} and gives its answer."
    made = name or f"ask_{settings.agent}"[:64]
    return [Tool(made, description, _PARAMETERS, ask, timeout=_TIMEOUT, takes_context=True)]


plugin = ToolPlugin(
    "agent",
    "Hands a task to another agent and gives its answer.",
    AgentSettings,
    _make,
    example={"agent": "researcher"},
)
