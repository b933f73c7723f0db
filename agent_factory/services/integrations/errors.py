"""What can go wrong with tools."""

from agent_factory.kit.errors import NotFound


class ToolNotFound(NotFound):
    """No tool has this name."""

    code = "tool_not_found"
    title = "Tool not found"
