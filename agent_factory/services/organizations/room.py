"""What the organizations room shows."""

from agent_factory.api.room import Room
from agent_factory.services.organizations.endpoints import organizations

room = Room(name="organizations", routers=(organizations,))
