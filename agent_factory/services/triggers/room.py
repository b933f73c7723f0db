"""What the triggers room shows."""

from agent_factory.api.room import Room
from agent_factory.services.triggers.endpoints.ingress import ingress
from agent_factory.services.triggers.endpoints.triggers import schedules, triggers
from agent_factory.services.triggers.rules.configs import PREFIX
from agent_factory.services.triggers.subscribers import subscribe

room = Room(name="triggers", routers=(triggers, schedules, ingress), subscribe=subscribe, any_media=(PREFIX,))
