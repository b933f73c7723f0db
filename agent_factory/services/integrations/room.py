"""What the integrations room shows."""

from agent_factory.api.room import Room
from agent_factory.services.integrations.endpoints.secrets import secrets
from agent_factory.services.integrations.endpoints.tools import tools

room = Room(name="integrations", routers=(tools, secrets))
