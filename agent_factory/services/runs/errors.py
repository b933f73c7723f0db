"""What can go wrong with sessions and runs."""

from agent_factory.kit.errors import Conflict, Kind, NotFound, Problem
from agent_factory.runtime.errors import RunEnded, RunNotWaiting, SessionBusy
from agent_factory.runtime.history import SessionNotFound
from agent_factory.runtime.queue.rerun import RunNotEnded
from agent_factory.runtime.rows import RunNotFound

__all__ = [
    "ApprovalDecided",
    "ApprovalForbidden",
    "ApprovalNotFound",
    "NotRetryable",
    "RunEnded",
    "RunHasNoOutput",
    "RunNotEnded",
    "RunNotFound",
    "RunNotWaiting",
    "SessionBusy",
    "SessionHasNoAgent",
    "SessionNotFound",
    "StepNotFound",
    "ValueGone",
    "ValueTooLarge",
]


class SessionHasNoAgent(Conflict):
    """A session whose agent is not kept with it, as of a caller who brings his own."""

    code = "session_has_no_agent"
    title = "The session has no agent"


class StepNotFound(NotFound):
    """The run has recorded nothing at this path."""

    code = "step_not_found"
    title = "Step not found"


class ValueGone(NotFound):
    """A large value that the object store no longer has."""

    code = "value_gone"
    title = "The value is no longer stored"


class ValueTooLarge(Problem):
    """A value that is larger than one answer."""

    kind = Kind.TOO_LARGE
    code = "value_too_large"
    title = "The value is too large"


class RunHasNoOutput(Conflict):
    """Only a completed run has an output."""

    code = "run_has_no_output"
    title = "The run has no output"


class NotRetryable(Conflict):
    """Only a failed run can be tried again."""

    code = "run_not_failed"
    title = "The run has not failed"


class ApprovalNotFound(NotFound):
    """No such approval in the caller's organisation."""

    code = "approval_not_found"
    title = "Approval not found"


class ApprovalForbidden(Problem):
    """A decision that others were asked for."""

    kind = Kind.FORBIDDEN
    code = "approval_forbidden"
    title = "The decision is for others"


class ApprovalDecided(Conflict):
    """A question that nobody asks any more."""

    code = "approval_decided"
    title = "The approval is decided"
