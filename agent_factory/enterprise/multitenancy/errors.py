"""What ends at a limit."""

from collections.abc import Mapping
from decimal import Decimal

from agent_factory.enterprise.multitenancy.limits import Metric
from agent_factory.kit.errors import Kind, Problem


class LimitReached(Problem):
    """A limit has not enough left; `rooms` says how much is left of what."""

    kind = Kind.BUDGET
    code = "limit_reached"
    title = "A limit is reached"

    def __init__(self, detail: str, rooms: Mapping[Metric, Decimal] | None = None) -> None:
        """Keep what is left."""
        super().__init__(detail)
        self.rooms: Mapping[Metric, Decimal] = rooms or {}


class BudgetExceeded(LimitReached):
    """A budget of the organisation's own has not enough left."""

    code = "budget_exceeded"
    title = "A budget is used up"


class QuotaExceeded(LimitReached):
    """The organisation's plan has not enough left."""

    code = "quota_exceeded"
    title = "A quota is used up"
