"""HTTP for budgets: what an organisation lets itself use."""

from typing import Annotated
from uuid import UUID

from fastapi import Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, Reader, Writer
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id
from agent_factory.kit import ids
from agent_factory.services.billing import service
from agent_factory.services.billing.schemas import BudgetCreate, BudgetOut, BudgetPage, BudgetPatch
from agent_factory.services.billing.service import WantedBudget

budgets = router("/api/v1/budgets", "budgets")

BudgetPath = Annotated[UUID, Id("bgt", in_path=True)]


@budgets.post("", status_code=201)
@needs("org:budgets")
async def create(session: Writer, actor: ActorDep, body: BudgetCreate, response: Response) -> BudgetOut:
    """Set a budget. It counts what was used before in its present period, and holds everywhere within 5 seconds."""
    wanted = WantedBudget(
        metric=body.metric, period=body.period, amount=body.amount, agent_id=body.agent_id, key_id=body.key_id
    )
    made = await service.create_budget(session, actor, wanted)
    response.headers["Location"] = f"/api/v1/budgets/{ids.encode('bgt', made.id)}"
    return BudgetOut.model_validate(made)


@budgets.get("")
@needs("org:budgets")
async def list_(session: Reader, actor: ActorDep, paging: PagingDep) -> BudgetPage:
    """List budgets with what is used of them, newest first."""
    return BudgetPage.model_validate(await service.list_budgets(session, actor, paging.limit, paging.after))


@budgets.get("/{budget_id}")
@needs("org:budgets")
async def get(session: Reader, actor: ActorDep, budget_id: BudgetPath) -> BudgetOut:
    """Show one budget with what is used of it."""
    return BudgetOut.model_validate(await service.get_budget(session, actor, budget_id))


@budgets.patch("/{budget_id}")
@needs("org:budgets")
async def update(session: Writer, actor: ActorDep, budget_id: BudgetPath, body: BudgetPatch) -> BudgetOut:
    """Change a budget's amount; what is used stays used."""
    return BudgetOut.model_validate(await service.change_amount(session, actor, budget_id, body.amount))


@budgets.delete("/{budget_id}", status_code=204)
@needs("org:budgets")
async def delete(session: Writer, actor: ActorDep, budget_id: BudgetPath) -> None:
    """Remove a budget; nothing is limited by it from then on."""
    await service.delete_budget(session, actor, budget_id)
