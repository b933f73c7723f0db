"""Quotas: what an organisation's plan lets it use. Only the operator sets them."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from agent_factory.database.models import MeterRow
from agent_factory.database.seats import seats_taken
from agent_factory.database.session import ReadSession, Session
from agent_factory.enterprise.multitenancy import limits
from agent_factory.enterprise.multitenancy.known import CHANNEL
from agent_factory.enterprise.multitenancy.limits import QUOTA_PERIODS, Metric, Period, quota_key
from agent_factory.enterprise.multitenancy.settings import QuotaSettings
from agent_factory.kit.clock import now
from agent_factory.security.auth import Actor
from agent_factory.services.billing import queries
from agent_factory.services.billing.rules import began, resets
from agent_factory.services.organizations.errors import OrganizationNotFound


class ShownQuota(msgspec.Struct, frozen=True, kw_only=True):
    """A quota with its present state."""

    metric: Metric
    period: Period
    amount: Decimal | None
    used: Decimal
    held: Decimal
    left: Decimal | None
    resets_at: datetime | None


async def quotas_of(
    session: ReadSession, actor: Actor, organization_id: UUID, defaults: QuotaSettings
) -> list[ShownQuota]:
    """Show every quota of the caller's organisation; any other is `OrganizationNotFound`."""
    check_own(actor, organization_id)
    return await shown_quotas(session, organization_id, defaults)


async def shown_quotas(session: ReadSession, organization_id: UUID, defaults: QuotaSettings) -> list[ShownQuota]:
    """Show every quota of an organisation."""
    amounts = limits.quotas_of(defaults, await queries.quotas(session, organization_id))
    meters = await queries.meters(session, organization_id, [quota_key(metric) for metric in amounts])
    month = await queries.used(session, organization_id, began(Period.MONTH, now()).date(), None, None)
    seats = Decimal(await seats_taken(session, organization_id))
    return [
        _seats(amount, seats)
        if metric is Metric.SEATS
        else _present(metric, amount, meters.get(quota_key(metric), []), month)
        for metric, amount in amounts.items()
    ]


async def set_quota(session: Session, organization_id: UUID, metric: Metric, amount: Decimal | None) -> None:
    """Set what an organisation may use, None for no limit; in a system transaction.

    A quota that is new counts what was used before in the present month.
    Raises `OrganizationNotFound`, or `Invalid` for what is no amount.
    """
    await _check_there(session, organization_id)
    await queries.set_quota(session, organization_id, metric, None if amount is None else limits.amount(amount))
    await _begin(session, organization_id, metric)
    await queries.tell(session, CHANNEL, organization_id)


async def reset_quota(session: Session, organization_id: UUID, metric: Metric) -> None:
    """Let the installation's default hold for an organisation again, in a system transaction.

    Raises `OrganizationNotFound`.
    """
    await _check_there(session, organization_id)
    await queries.drop_quota(session, organization_id, metric)
    await queries.tell(session, CHANNEL, organization_id)


def check_own(actor: Actor, organization_id: UUID) -> None:
    """Raise `OrganizationNotFound` for an organisation that the caller does not act in."""
    if organization_id != actor.organization_id:
        raise OrganizationNotFound("There is no such organisation, or it is not yours.")


async def _check_there(session: ReadSession, organization_id: UUID) -> None:
    if not await queries.organization_exists(session, organization_id):
        raise OrganizationNotFound("There is no such organisation.")


async def _begin(session: Session, organization_id: UUID, metric: Metric) -> None:
    if QUOTA_PERIODS[metric] is Period.MONTH:
        since = began(Period.MONTH, now())
        used = await queries.used(session, organization_id, since.date(), None, None)
        await queries.gauge(session, organization_id, quota_key(metric), since, used[metric])
    elif metric is Metric.STORAGE:
        # what was stored while nothing limited it is counted before anything more is
        await queries.drop_meter(session, organization_id, quota_key(metric))


def _present(
    metric: Metric, amount: Decimal | None, meters: list[MeterRow], month: Mapping[str, Decimal]
) -> ShownQuota:
    moment, period = now(), QUOTA_PERIODS[metric]
    since = began(period, moment)
    meter = next((each for each in meters if each.since == since), None)
    used = meter.used if meter and amount is not None else month.get(metric, meter.used if meter else Decimal(0))
    held = meter.held if meter else Decimal(0)
    return ShownQuota(
        metric=metric,
        period=period,
        amount=amount,
        used=used,
        held=held,
        left=None if amount is None else max(Decimal(0), amount - used - held),
        resets_at=resets(period, moment),
    )


def _seats(amount: Decimal | None, taken: Decimal) -> ShownQuota:
    return ShownQuota(
        metric=Metric.SEATS,
        period=Period.TOTAL,
        amount=amount,
        used=taken,
        held=Decimal(0),
        left=None if amount is None else max(Decimal(0), amount - taken),
        resets_at=None,
    )
