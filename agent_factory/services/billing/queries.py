"""Every statement over budgets, quotas, meters and usage."""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from agent_factory.database.base import owned_by
from agent_factory.database.models import BudgetRow, MeterRow, QuotaRow
from agent_factory.database.pages import newest
from agent_factory.database.session import ReadSession, Session
from agent_factory.enterprise.multitenancy.limits import NOBODY
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor
from agent_factory.services.billing.rules import Dimension, Place, Span

_USED = """
    select day, agent_id, key_id, model, runs, calls, unconfirmed, input_tokens, output_tokens, cost_usd
    from usage_days where organization_id = :organization_id and day between :first and :last
    union all
    select day, agent_id, key_id, model, runs, calls, unconfirmed, input_tokens, output_tokens, cost_usd
    from usage_between((select until from usage_mark), 'infinity')
    where organization_id = :organization_id and day between :first and :last
"""

_USAGE = text(f"""
    with used as ({_USED}), told as (
      select day, case when :by_agent then agent_id else :nobody end as agent_id,
        case when :by_key then key_id else :nobody end as key_id,
        case when :by_model then model else '' end as model,
        sum(runs) as runs, sum(calls) as calls, sum(unconfirmed) as unconfirmed, sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens, sum(cost_usd) as cost_usd
      from used group by 1, 2, 3, 4
    )
    select * from told
    where cast(:day as date) is null or day < :day
      or day = :day and (agent_id, key_id, model) > (:agent_id, :key_id, cast(:model as text))
    order by day desc, agent_id, key_id, model limit :limit
""")  # noqa: S608 - constant parts

_SUM = text(f"""
    select coalesce(sum(runs), 0) as runs, coalesce(sum(input_tokens + output_tokens), 0) as tokens,
      coalesce(sum(cost_usd), 0) as usd
    from ({_USED}) used
    where (cast(:agent_id as uuid) is null or agent_id = :agent_id)
      and (cast(:key_id as uuid) is null or key_id in (
        with recursive made as (
          select cast(:key_id as uuid) as id
          union
          select k.id from api_keys k join made m on k.made_with = m.id where k.organization_id = :organization_id
        )
        select id from made
      ))
""")  # noqa: S608 - constant parts

_AGENT = text("select exists (select from agents where organization_id = :organization_id and id = :id)")
_TELL = text("select pg_notify(:channel, :organization_id)")
_ORGANIZATION = text("select exists (select from organizations where id = :id)")


class Used(msgspec.Struct, frozen=True):
    """What was used on a day by an agent, by a key, of a model, as far as these were asked for."""

    day: date
    agent_id: UUID
    key_id: UUID
    model: str
    runs: int
    calls: int
    unconfirmed: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None

    @property
    def place(self) -> Place:
        """Where a page ends that this is the last row of."""
        return Place(self.day, self.agent_id, self.key_id, self.model)


async def budget(session: ReadSession, actor: Actor, budget_id: UUID) -> BudgetRow | None:
    """Find one budget."""
    return (await session.scalars(owned_by(actor, BudgetRow).where(BudgetRow.id == budget_id))).one_or_none()


async def budget_to_change(session: Session, actor: Actor, budget_id: UUID) -> BudgetRow | None:
    """Find one budget and hold its row until the transaction ends."""
    query = owned_by(actor, BudgetRow).where(BudgetRow.id == budget_id).with_for_update()
    return (await session.scalars(query)).one_or_none()


async def budgets(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[BudgetRow]:
    """List budgets, newest first."""
    return await newest(session, owned_by(actor, BudgetRow), BudgetRow, limit, after)


async def add(session: Session, row: BudgetRow | MeterRow) -> None:
    """Insert a row."""
    session.add(row)
    await session.flush()


async def save(session: Session, row: BudgetRow) -> None:
    """Write a budget's changes now."""
    await session.flush()
    await session.refresh(row)


async def remove(session: Session, row: BudgetRow) -> None:
    """Delete a budget; its meters, of which calls may still hold something, are cleaned away by the ledger."""
    await session.delete(row)


async def agent_exists(session: ReadSession, actor: Actor, agent_id: UUID) -> bool:
    """Tell whether an agent is one of the organisation's."""
    found = await session.scalar(_AGENT, {"organization_id": actor.organization_id, "id": agent_id})
    return bool(found)


async def organization_exists(session: ReadSession, organization_id: UUID) -> bool:
    """Tell whether there is an organisation."""
    return bool(await session.scalar(_ORGANIZATION, {"id": organization_id}))


async def meters(session: ReadSession, organization_id: UUID, keys: Collection[str]) -> dict[str, list[MeterRow]]:
    """Give the meters with some keys, of all periods of the last two months."""
    query = select(MeterRow).where(MeterRow.organization_id == organization_id, MeterRow.key.in_(keys))
    found: dict[str, list[MeterRow]] = {}
    for row in await session.scalars(query):
        found.setdefault(row.key, []).append(row)
    return found


async def quotas(session: ReadSession, organization_id: UUID) -> dict[str, Decimal | None]:
    """Give the quotas that were set for one organisation."""
    query = select(QuotaRow).where(QuotaRow.organization_id == organization_id)
    return {row.metric: row.amount for row in await session.scalars(query)}


async def set_quota(session: Session, organization_id: UUID, metric: str, amount: Decimal | None) -> None:
    """Set a quota of an organisation."""
    values = {"organization_id": organization_id, "metric": metric, "amount": amount}
    statement = insert(QuotaRow).values(**values)
    changed = {"amount": amount, "updated_at": func.now()}
    await session.execute(statement.on_conflict_do_update(index_elements=["organization_id", "metric"], set_=changed))


async def drop_quota(session: Session, organization_id: UUID, metric: str) -> None:
    """Let the default hold for an organisation again."""
    await session.execute(
        delete(QuotaRow).where(QuotaRow.organization_id == organization_id, QuotaRow.metric == metric)
    )


async def gauge(session: Session, organization_id: UUID, key: str, since: datetime, used: Decimal) -> None:
    """Begin a meter with what was used before, unless it has begun."""
    statement = insert(MeterRow).values(organization_id=organization_id, key=key, since=since, used=used)
    await session.execute(statement.on_conflict_do_nothing())


async def drop_meter(session: Session, organization_id: UUID, key: str) -> None:
    """Forget what a meter has counted, unless something is held of it."""
    await session.execute(
        delete(MeterRow).where(MeterRow.organization_id == organization_id, MeterRow.key == key, MeterRow.held == 0)
    )


async def tell(session: Session, channel: str, organization_id: UUID) -> None:
    """Tell every process, once this is committed, that an organisation's limits have changed."""
    await session.execute(_TELL, {"channel": channel, "organization_id": str(organization_id)})


async def usage(
    session: ReadSession,
    organization_id: UUID,
    span: Span,
    limit: int,
    after: Place | None,
) -> list[Used]:
    """Give usage by day and whatever else, newest day first."""
    values: dict[str, Any] = {
        "organization_id": organization_id,
        "first": span.first,
        "last": span.last,
        "nobody": NOBODY,
        "by_agent": Dimension.AGENT in span.by,
        "by_key": Dimension.KEY in span.by,
        "by_model": Dimension.MODEL in span.by,
        "day": after and after.day,
        "agent_id": after.agent_id if after else NOBODY,
        "key_id": after.key_id if after else NOBODY,
        "model": after.model if after else "",
        "limit": limit,
    }
    rows = (await session.execute(_USAGE, values)).mappings().all()
    return [Used(**row) for row in rows]


async def used(
    session: ReadSession, organization_id: UUID, first: date, agent_id: UUID | None, key_id: UUID | None
) -> Mapping[str, Decimal]:
    """Sum what was used since a day, of one agent, or of one key and those made with it, if that is named."""
    values = {
        "organization_id": organization_id,
        "first": first,
        "last": date.max,
        "agent_id": agent_id,
        "key_id": key_id,
    }
    row = (await session.execute(_SUM, values)).mappings().one()
    return {name: Decimal(row[name]) for name in ("runs", "tokens", "usd")}
