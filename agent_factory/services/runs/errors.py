"""What can go wrong with sessions and runs."""

from agent_factory.kit.errors import Conflict
from agent_factory.runtime.engine import RunEnded, RunNotWaiting, SessionBusy
from agent_factory.runtime.history import SessionNotFound
from agent_factory.runtime.rows import RunNotFound

__all__ = ["RunEnded", "RunNotFound", "RunNotWaiting", "SessionBusy", "SessionHasNoAgent", "SessionNotFound"]


class SessionHasNoAgent(Conflict):
    """A session whose agent is not kept with it, as of a caller who brings his own."""

    code = "session_has_no_agent"
    title = "The session has no agent"
