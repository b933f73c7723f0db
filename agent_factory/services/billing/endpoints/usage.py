"""HTTP for what organisations may use and have used."""

from typing import Annotated
from uuid import UUID

from fastapi import Query

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id
from agent_factory.enterprise.multitenancy.limits import NOBODY
from agent_factory.services.billing import service
from agent_factory.services.billing.rules import Dimension, read_place
from agent_factory.services.billing.schemas import Day, QuotaList, QuotaOut, UsageOut, UsagePage

organizations = router("/api/v1/organizations", "organizations")

OrganizationPath = Annotated[UUID, Id("org", in_path=True)]
First = Annotated[Day | None, Query(alias="from", description="First day (UTC). (default: 29 days before the last)")]
Last = Annotated[Day | None, Query(alias="to", description="Last day (UTC). (default: today)")]
By = Annotated[list[Dimension], Query(description="What to tell apart beside the day; may be given several times.")]
Limit = Annotated[int, Query(ge=1, le=100, description="Rows at most.")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before.")]


@organizations.get("/{organization_id}/quotas", name="quotas")
@needs("org:quotas")
async def list_quotas(
    session: Reader, actor: ActorDep, platform: PlatformDep, organization_id: OrganizationPath
) -> QuotaList:
    """Show what the organisation's plan lets it use, and what is used of it. The operator sets it."""
    found = await service.quotas_of(session, actor, organization_id, platform.engine.ledger.quotas)
    return QuotaList(data=[QuotaOut.model_validate(each) for each in found])


@organizations.get("/{organization_id}/usage", name="usage")
@needs("org:usage")
async def list_usage(
    *,
    session: Reader,
    actor: ActorDep,
    organization_id: OrganizationPath,
    first: First = None,
    last: Last = None,
    by: By = [],  # noqa: B006 - FastAPI copies it, and the document shows it
    limit: Limit = 20,
    cursor: Cursor = None,
) -> UsagePage:
    """Show what the organisation used, by day and if asked by agent, API key and model; newest day first."""
    found = await service.usage_of(
        session, actor, organization_id, first=first, last=last, by=by, limit=limit, after=read_place(cursor)
    )
    data = [
        UsageOut(
            day=row.day,
            agent_id=None if row.agent_id == NOBODY else row.agent_id,
            key_id=None if row.key_id == NOBODY else row.key_id,
            model=row.model or None,
            runs=row.runs,
            calls=row.calls,
            unconfirmed=row.unconfirmed,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cost_usd=row.cost_usd,
        )
        for row in found.data
    ]
    return UsagePage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)
