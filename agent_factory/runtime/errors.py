"""What can go wrong with a run as a whole."""

from agent_factory.kit.errors import Conflict, Problem


class SessionBusy(Conflict):
    """A session holds one turn at a time."""

    code = "session_busy"
    title = "A turn of this session is under way"


class RunEnded(Conflict):
    """There is nothing left to cancel."""

    code = "run_ended"
    title = "The run has ended"


class RunNotWaiting(Conflict):
    """Nobody asked for a decision, or it is made already."""

    code = "run_not_waiting"
    title = "The run does not wait for a decision"


class RunInterrupted(Problem):
    """The processes that worked on the run died, more often than is allowed."""

    code = "run_interrupted"
    title = "The run was interrupted"


class InternalFailure(Problem):
    """A fault of ours; the log has the particulars."""

    code = "internal_error"
    title = "Internal error"
