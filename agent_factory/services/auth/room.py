"""What the auth room shows."""

from agent_factory.api.room import Room
from agent_factory.services.auth.endpoints import auth, keys, users

room = Room(name="auth", routers=(keys, users, auth))
