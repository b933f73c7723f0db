"""What the billing room shows."""

from agent_factory.api.room import Room
from agent_factory.services.billing.endpoints.budgets import budgets
from agent_factory.services.billing.endpoints.usage import organizations

room = Room(name="billing", routers=(budgets, organizations))
