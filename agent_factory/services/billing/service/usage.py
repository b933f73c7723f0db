"""What an organisation has used, by day."""

from collections.abc import Collection
from datetime import date, timedelta
from uuid import UUID

from agent_factory.database.session import ReadSession
from agent_factory.kit.clock import now
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor
from agent_factory.services.billing import queries
from agent_factory.services.billing.queries import Used
from agent_factory.services.billing.rules import Dimension, Place, Span, write_place
from agent_factory.services.billing.service.quotas import check_own

_USUAL_DAYS = 30
"""Days that are shown where nobody says how many."""


async def usage_of(
    session: ReadSession,
    actor: Actor,
    organization_id: UUID,
    *,
    first: date | None,
    last: date | None,
    by: Collection[Dimension],
    limit: int,
    after: Place | None,
) -> Page[Used]:
    """Show what the caller's organisation used from one day to another, newest first.

    Any other organisation is `OrganizationNotFound`; days in the wrong order are `Invalid`.
    """
    check_own(actor, organization_id)
    last = last or now().date()
    first = first or last - min(timedelta(days=_USUAL_DAYS - 1), last - date.min)
    if first > last:
        raise Invalid("The first day lies behind the last one.", errors=[FieldError("/from", "later than `to`")])
    rows = await queries.usage(session, organization_id, Span(first, last, by), limit + 1, after)
    more = len(rows) > limit
    cursor = write_place(rows[limit - 1].place) if more else None
    return Page(rows[:limit], cursor, more)
