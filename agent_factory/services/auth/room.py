"""What the auth room shows."""

from agent_factory.api.room import Room
from agent_factory.services.auth.endpoints.accounts import accounts
from agent_factory.services.auth.endpoints.keys import keys
from agent_factory.services.auth.endpoints.tokens import auth, well_known
from agent_factory.services.auth.endpoints.users import users

room = Room(name="auth", routers=(keys, users, auth, accounts, well_known))
