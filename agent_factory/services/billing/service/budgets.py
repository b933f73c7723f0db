"""Budgets: set, shown, changed and removed."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from agent_factory.database.models import BudgetRow, MeterRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.enterprise.multitenancy.known import CHANNEL
from agent_factory.enterprise.multitenancy.limits import Metric, Period, Subject, budget_key
from agent_factory.kit.clock import now
from agent_factory.kit.errors import FieldError
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.auth.errors import KeyNotFound
from agent_factory.services.billing import queries
from agent_factory.services.billing.errors import BudgetInvalid, BudgetNotFound
from agent_factory.services.billing.rules import began, check_budget, resets, subject_of


class WantedBudget(msgspec.Struct, frozen=True, kw_only=True):
    """A budget as it is asked for."""

    metric: Metric
    period: Period
    amount: Decimal
    agent_id: UUID | None = None
    key_id: UUID | None = None


class ShownBudget(msgspec.Struct, frozen=True, kw_only=True):
    """A budget with its present state; nothing of that for a budget of each run."""

    id: UUID
    subject: Subject
    agent_id: UUID | None
    key_id: UUID | None
    metric: Metric
    period: Period
    amount: Decimal
    used: Decimal | None
    held: Decimal | None
    left: Decimal | None
    resets_at: datetime | None
    created_at: datetime
    updated_at: datetime


async def create_budget(session: Session, actor: Actor, wanted: WantedBudget) -> ShownBudget:
    """Set a budget, which counts what was used before in its present period.

    Raises `BudgetInvalid`, or `Conflict` where there is one for the same already.
    """
    check_budget(wanted.metric, wanted.period, wanted.amount)
    subject = subject_of(wanted.agent_id, wanted.key_id)
    await _check_subject(session, actor, wanted)
    row = BudgetRow(
        id=uuid7(),
        organization_id=actor.organization_id,
        subject=subject,
        agent_id=wanted.agent_id,
        key_id=wanted.key_id,
        metric=wanted.metric,
        period=wanted.period,
        amount=wanted.amount,
        created_by=actor.user_id,
    )
    await queries.add(session, row)
    if wanted.period is not Period.RUN:
        await _begin(session, row)
    await queries.tell(session, CHANNEL, actor.organization_id)
    return await _shown(session, row)


async def get_budget(session: ReadSession, actor: Actor, budget_id: UUID) -> ShownBudget:
    """Show a budget; raises `BudgetNotFound`."""
    return await _shown(session, _found(await queries.budget(session, actor, budget_id)))


async def list_budgets(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[ShownBudget]:
    """List budgets, newest first."""
    found = await queries.budgets(session, actor, limit, after)
    shown = await _all_shown(session, actor.organization_id, found.data)
    return Page(shown, found.next_cursor, found.has_more)


async def change_amount(session: Session, actor: Actor, budget_id: UUID, amount: Decimal) -> ShownBudget:
    """Give a budget another amount; what is used stays used. Raises `BudgetNotFound` or `BudgetInvalid`."""
    row = _found(await queries.budget_to_change(session, actor, budget_id))
    check_budget(Metric(row.metric), Period(row.period), amount)
    row.amount = amount
    row.updated_at = now()
    await queries.save(session, row)
    await queries.tell(session, CHANNEL, actor.organization_id)
    return await _shown(session, row)


async def delete_budget(session: Session, actor: Actor, budget_id: UUID) -> None:
    """Remove a budget; raises `BudgetNotFound`."""
    row = _found(await queries.budget_to_change(session, actor, budget_id))
    await queries.remove(session, row)
    await queries.tell(session, CHANNEL, actor.organization_id)


def _found(row: BudgetRow | None) -> BudgetRow:
    if row is None:
        raise BudgetNotFound("There is no such budget in your organisation.")
    return row


async def _check_subject(session: Session, actor: Actor, wanted: WantedBudget) -> None:
    if wanted.agent_id is not None and not await queries.agent_exists(session, actor, wanted.agent_id):
        raise BudgetInvalid("There is no such agent.", errors=[FieldError("/agent_id", "no agent of yours")])
    if wanted.key_id is not None:
        try:
            await auth.get_key(session, actor, wanted.key_id)
        except KeyNotFound:
            raise BudgetInvalid("There is no such key.", errors=[FieldError("/key_id", "no key of yours")]) from None


async def _begin(session: Session, row: BudgetRow) -> None:
    """Begin the budget's meter with what its subject has used since the period began."""
    since = began(Period(row.period), now())
    used = await queries.used(session, row.organization_id, since.date(), row.agent_id, row.key_id)
    await queries.gauge(session, row.organization_id, budget_key(row.id), since, used.get(row.metric, Decimal(0)))


async def _shown(session: ReadSession, row: BudgetRow) -> ShownBudget:
    (shown,) = await _all_shown(session, row.organization_id, [row])
    return shown


async def _all_shown(session: ReadSession, organization_id: UUID, rows: Iterable[BudgetRow]) -> list[ShownBudget]:
    by_key = {budget_key(row.id): row for row in rows}
    meters = await queries.meters(session, organization_id, by_key)
    return [_present(row, meters.get(key, [])) for key, row in by_key.items()]


def _present(row: BudgetRow, meters: list[MeterRow]) -> ShownBudget:
    moment, period = now(), Period(row.period)
    since = began(period, moment)
    meter = next((each for each in meters if each.since == since), None)
    used, held = (meter.used, meter.held) if meter else (Decimal(0), Decimal(0))
    each_run = period is Period.RUN
    return ShownBudget(
        id=row.id,
        subject=Subject(row.subject),
        agent_id=row.agent_id,
        key_id=row.key_id,
        metric=Metric(row.metric),
        period=period,
        amount=row.amount,
        used=None if each_run else used,
        held=None if each_run else held,
        left=None if each_run else max(Decimal(0), row.amount - used - held),
        resets_at=resets(period, moment),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
