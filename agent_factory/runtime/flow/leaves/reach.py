"""What tasks with effects need of the process that they run in."""

from typing import Any

from agent_factory.core.tool import ToolContext
from agent_factory.kit.errors import Kind, Problem
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.doors import own_doors
from agent_factory.runtime.flow.context import TaskCall


class NotReachable(Problem):
    """A task that needs something which this process does not have."""

    kind = Kind.UNAVAILABLE
    code = "task_not_possible"
    title = "The task cannot run here"


def resources_of(call: TaskCall) -> Resources:
    """Give the models and tools of a run."""
    if call.context.resources is None:
        raise NotReachable("This process has neither models nor tools for its runs.")
    return call.context.resources


def key_of(call: TaskCall) -> str:
    """Name the effect of a task for whoever does it; a run without a name has none, for another would have the same."""
    return call.key if call.context.run_id else ""


async def tool_context(call: TaskCall, **doors: Any) -> ToolContext:  # noqa: ANN401 - each door has its own type
    """Give what a tool may know and reach in a task, with more doors of the task's own."""
    context = call.context
    return ToolContext(
        run_id=context.run_id,
        call_id=call.path,
        organization_id=context.organization_id,
        idempotency_key=key_of(call),
        resources=await own_doors(resources_of(call).doors, context.organization_id) | doors,
    )
