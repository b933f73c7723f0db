"""What the workflows room shows."""

from agent_factory.api.room import Room
from agent_factory.services.workflows.endpoints.definitions import workflows
from agent_factory.services.workflows.endpoints.starting import forks, starts

room = Room(name="workflows", routers=(starts, workflows, forks))
