"""What the models room shows."""

from agent_factory.api.room import Room
from agent_factory.services.models.endpoints import models, providers

room = Room(name="models", routers=(models, providers))
