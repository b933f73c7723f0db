"""What becomes of a task and of a whole flow."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from agent_factory.core.event import ApprovalNeeded
from agent_factory.kit.errors import Kind, Problem


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of one task, as the journal keeps it.

    `stored` tells that `output` is a reference into the payload store, as
    `variables.Ref` writes it. `targets` are the branches that a conditional or
    switch chose, `None` where there are none; `labels` the terminal labels that
    paths inside the task ended at. With `end`, the whole run ends with it.
    """

    output: Any = None
    status: Literal["completed", "failed", "skipped"] = "completed"
    error: dict[str, Any] | None = None
    stored: bool = False
    targets: tuple[str, ...] | None = None
    labels: tuple[str, ...] = ()
    end: bool = False


class WaitFor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that a run waits for.

    `path` is that of the journal entry that ends the wait; its `output` is the
    JSON of an `Outcome`. A `timer` fires at `wake_at` (RFC 3339) with an empty
    outcome. An `event` of `event_type`, for which the expression `data["match"]`
    holds over `event` and `data["values"]`, fires with the event's data as
    output. An `approval` fires with `{"approved": …, "by": …, "comment": …}`.
    What is overdue at `wake_at` fires with the status `failed`; what then
    counts, the task knows itself.
    """

    path: str
    kind: Literal["timer", "event", "approval"]
    wake_at: str | None = None
    event_type: str | None = None
    data: dict[str, Any] = {}


def question(path: str, data: Mapping[str, Any]) -> ApprovalNeeded:
    """Tell what a wait for an approval asks: `name` is the task's or tool's, `reason` says why, else the `title`."""
    return ApprovalNeeded(
        path,
        reason=str(data.get("reason") or data.get("title") or ""),
        name=str(data.get("name") or ""),
        arguments=str(data.get("arguments") or ""),
    )


class Completed(msgspec.Struct, frozen=True, tag="completed"):
    """The run is over, with its output; `labels` are the terminal labels that its paths ended at."""

    output: Any
    labels: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The run failed at a path; `problem` has code, title, detail and path."""

    problem: dict[str, Any]
    path: str


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """Nothing can go on before one of these happens; they are all that the run waits for."""

    waits: tuple[WaitFor, ...]


FlowEnd = Completed | Failed | Waiting


class Chosen(msgspec.Struct, frozen=True):
    """What a conditional or switch gives: the way that it chose, if any."""

    target: str | None


class Ended(msgspec.Struct, frozen=True):
    """What an `end` task gives: the end of the whole run."""

    output: Any = None
    error: dict[str, Any] | None = None


class TaskFailed(Exception):
    """A task that failed for good, on its way up to whoever catches it; `error` has code, title, detail and path."""

    def __init__(self, error: dict[str, Any]) -> None:
        """Keep the error."""
        super().__init__(error.get("detail"))
        self.error = error


def failure(problem: Problem, path: str) -> dict[str, Any]:
    """Write a problem at a path as the journal keeps it and as `error` shows it."""
    error: dict[str, Any] = {**problem.as_dict(), "kind": str(problem.kind), "path": path}
    if problem.retryable:
        error["retryable"] = True
    if problem.retry_after is not None:
        error["retry_after"] = problem.retry_after
    return error


class TaskTimeout(Problem):
    """A task that took longer than its `timeout`."""

    kind = Kind.TIMEOUT
    code = "task_timeout"
    title = "The task did not end in time"
    retryable = True


class TaskError(Problem):
    """A task whose values do not fit what it does."""

    kind = Kind.INVALID
    code = "task_failed"
    title = "The task failed"


class TaskBroken(Problem):
    """A task that failed in a way that nobody foresaw."""

    code = "task_broken"
    title = "The task broke"


class InputInvalid(Problem):
    """A run's input that does not meet the workflow's `input` schema."""

    kind = Kind.INVALID
    code = "input_invalid"
    title = "The input does not match the workflow"


class FlowLimit(Problem):
    """A run that would become larger than a setting allows."""

    kind = Kind.BUDGET
    code = "workflow_limit_exceeded"
    title = "The run would exceed a limit"


class Recursion(Problem):
    """A workflow that would run inside itself."""

    kind = Kind.INVALID
    code = "workflow_recursion"
    title = "A workflow cannot run inside itself"


class Rejected(Problem):
    """A person, or the deadline, decided against it."""

    kind = Kind.FORBIDDEN
    code = "approval_denied"
    title = "Not approved"


class Overdue(Problem):
    """A wait whose deadline passed before anything came."""

    kind = Kind.TIMEOUT
    code = "wait_overdue"
    title = "Nothing came in time"


class CompensationFailed(Problem):
    """A `try` that failed, and some of whose tasks could not be undone either."""

    kind = Kind.INTERNAL
    code = "compensation_failed"
    title = "A task could not be undone"


class Suspended(BaseException):
    """Carries what a task waits for up to its level; no error, so that no handler takes it for one."""

    def __init__(self, *waits: WaitFor) -> None:
        """Keep the waits."""
        super().__init__(len(waits))
        self.waits = list(waits)


class EndReached(BaseException):
    """An `end` task was reached: the workflow ends here; with `whole`, those around it too."""

    def __init__(self, end: Completed | Failed, *, whole: bool = False) -> None:
        """Keep the end."""
        super().__init__()
        self.end = end
        self.whole = whole
