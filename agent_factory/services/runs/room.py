"""What the runs room shows."""

from agent_factory.api.room import Room
from agent_factory.services.runs.endpoints.approvals import approvals
from agent_factory.services.runs.endpoints.runs import runs
from agent_factory.services.runs.endpoints.sessions import sessions

room = Room(name="runs", routers=(sessions, runs, approvals))
