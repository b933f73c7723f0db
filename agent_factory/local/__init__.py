"""Runs agents and workflows in this process: no server, no database.

Workflows are in `agent_factory.local.workflows`.
"""

from agent_factory.local.turns import (
    ApprovalMissing,
    Decide,
    Resources,
    Result,
    open_resources,
    run,
    run_sync,
    stream,
    typed,
)

__all__ = [
    "ApprovalMissing",
    "Decide",
    "Resources",
    "Result",
    "open_resources",
    "run",
    "run_sync",
    "stream",
    "typed",
]
