"""What the governance room shows."""

from agent_factory.api.room import Room
from agent_factory.services.governance.endpoints import checkpoints, events, keys, trail

room = Room(name="governance", routers=(events, checkpoints, keys, trail))
