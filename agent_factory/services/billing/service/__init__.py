"""The face of the billing room."""

from agent_factory.services.billing.service.budgets import (
    ShownBudget,
    WantedBudget,
    change_amount,
    create_budget,
    delete_budget,
    get_budget,
    list_budgets,
)
from agent_factory.services.billing.service.quotas import ShownQuota, quotas_of, reset_quota, set_quota, shown_quotas
from agent_factory.services.billing.service.usage import usage_of

__all__ = [
    "ShownBudget",
    "ShownQuota",
    "WantedBudget",
    "change_amount",
    "create_budget",
    "delete_budget",
    "get_budget",
    "list_budgets",
    "quotas_of",
    "reset_quota",
    "set_quota",
    "shown_quotas",
    "usage_of",
]
