"""Counts the tasks of runs by what their events tell (S94)."""

from collections.abc import Callable

from agent_factory.core.event import TaskFinished, TurnEvent
from agent_factory.monitoring.metrics import Metrics


def counted(emit: Callable[[TurnEvent], None], metrics: Metrics) -> Callable[[TurnEvent], None]:
    """Pass events on, and count the tasks that end; what a restart takes from the journal is not told again."""

    def count(event: TurnEvent) -> None:
        if isinstance(event, TaskFinished):
            metrics.task(event.task_type, event.duration_ms / 1000, success=event.status == "completed")
        emit(event)

    return count
