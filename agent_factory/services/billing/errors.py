"""What can go wrong with budgets."""

from agent_factory.kit.errors import Invalid, NotFound


class BudgetNotFound(NotFound):
    """No such budget in the caller's organisation."""

    code = "budget_not_found"
    title = "Budget not found"


class BudgetInvalid(Invalid):
    """A budget that could not count anything."""

    code = "budget_invalid"
    title = "The budget is not valid"
