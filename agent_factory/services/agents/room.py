"""What the agents room shows."""

from agent_factory.api.room import Room
from agent_factory.services.agents.endpoints import agents, templates

room = Room(name="agents", routers=(agents, templates))
