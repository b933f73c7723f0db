"""An event of the organisation's own (S90)."""

from typing import cast

from agent_factory.core.task import Emit
from agent_factory.kit.errors import Problem
from agent_factory.runtime.flow.context import TaskCall
from agent_factory.runtime.flow.leaves.reach import NotReachable
from agent_factory.runtime.flow.watched import Interrupted


async def emit(call: TaskCall) -> dict[str, str]:
    """Publish an event, once for the task, whatever restarts in between; give its `{id, type}`."""
    config = cast("Emit", call.config)
    if call.context.events is None:
        raise NotReachable("This process cannot publish events; run the workflow on a server.")
    try:
        event_id = await call.context.events.emit(config.type, config.data, call.key)
    except Problem as problem:
        if problem.retryable:
            raise Interrupted(
                problem
            ) from problem  # events lie where the journal lies: the run goes on when both are back
        raise
    return {"id": event_id, "type": config.type}
