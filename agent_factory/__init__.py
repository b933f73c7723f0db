"""Agent Factory: build, run, expose and sell AI agents."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agent_factory.kit.version import __version__

if TYPE_CHECKING:
    from agent_factory.core.agent import Agent
    from agent_factory.core.blueprint import Blueprint
    from agent_factory.core.tool import Tool, ToolContext, tool
    from agent_factory.core.workflow import Workflow
    from agent_factory.local import Result, run, run_sync, stream

__all__ = [
    "Agent",
    "Blueprint",
    "Result",
    "Tool",
    "ToolContext",
    "Workflow",
    "__version__",
    "run",
    "run_sync",
    "stream",
    "tool",
]

_HOMES = {
    "Agent": "core.agent",
    "Blueprint": "core.blueprint",
    "Result": "local",
    "Tool": "core.tool",
    "ToolContext": "core.tool",
    "Workflow": "core.workflow",
    "run": "local",
    "run_sync": "local",
    "stream": "local",
    "tool": "core.tool",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    """Import a public name when it is first used, so that the package itself is quick to import."""
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(import_module(f"agent_factory.{_HOMES[name]}"), name)
