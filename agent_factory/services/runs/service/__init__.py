"""The face of the runs room."""

from agent_factory.services.runs.queries import Wanted
from agent_factory.services.runs.service.approvals import decide_approval, get_approval, list_approvals
from agent_factory.services.runs.service.comparing import diff
from agent_factory.services.runs.service.flows import ENDED, replay, resume, retry, settled
from agent_factory.services.runs.service.keeping import forget_run, said_with
from agent_factory.services.runs.service.reading import (
    cost_of,
    found_run,
    get_run,
    list_runs,
    list_steps,
    read_output,
    read_step,
    show,
    show_all,
)
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
    "ENDED",
    "Turn",
    "Wanted",
    "begin",
    "cancel",
    "cost_of",
    "create_session",
    "decide",
    "decide_approval",
    "delete_session",
    "diff",
    "forget_run",
    "found_run",
    "get_approval",
    "get_run",
    "get_session",
    "list_approvals",
    "list_messages",
    "list_runs",
    "list_sessions",
    "list_steps",
    "patch_session",
    "pinned",
    "read_output",
    "read_step",
    "replay",
    "resume",
    "retry",
    "run_once",
    "said_with",
    "send",
    "settled",
    "show",
    "show_all",
    "watch_run",
    "watch_session",
]
