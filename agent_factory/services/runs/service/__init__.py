"""The face of the runs room."""

from agent_factory.services.runs.service.keeping import forget_run, said_with
from agent_factory.services.runs.service.reading import cost_of, get_run, list_runs, list_steps
from agent_factory.services.runs.service.sessions import (
    create_session,
    delete_session,
    get_session,
    list_messages,
    list_sessions,
    patch_session,
)
from agent_factory.services.runs.service.turns import Turn, begin, cancel, decide, pinned, run_once, send
from agent_factory.services.runs.service.watching import watch_run, watch_session

__all__ = [
    "Turn",
    "begin",
    "cancel",
    "cost_of",
    "create_session",
    "decide",
    "delete_session",
    "forget_run",
    "get_run",
    "get_session",
    "list_messages",
    "list_runs",
    "list_sessions",
    "list_steps",
    "patch_session",
    "pinned",
    "run_once",
    "said_with",
    "send",
    "watch_run",
    "watch_session",
]
