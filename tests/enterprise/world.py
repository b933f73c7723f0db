"""An organisation with limits, processes that spend in its name, and what the database holds of it."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text

from agent_factory.database.models import AgentRow, BudgetRow, OrganizationRow, QuotaRow
from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.ledger import Ledger
from agent_factory.enterprise.multitenancy.limits import Metric, Period, Spender, Subject
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor

LEASE = 0.0
"""Seconds; whoever does not beat is dead at once."""

OVERSHOT = """
select m.key, m.used, m.held, b.amount from meters m
join budgets b on b.organization_id = m.organization_id and m.key like 'budget/' || b.id || '%'
where m.organization_id = $1 and m.used + m.held > b.amount
union all
select m.key, m.used, m.held, q.amount from meters m
join quotas q on q.organization_id = m.organization_id and m.key = 'quota/' || q.metric
where m.organization_id = $1 and m.used + m.held > q.amount
"""

UNEQUAL = """
select m.key, m.since, m.held, coalesce(sum(h.amount), 0) as reserved from meters m
left join (
  select r.organization_id, k.key, k.since, k.amount from reservations r, unnest(r.keys, r.sinces, r.amounts)
    as k(key, since, amount)
) h on h.organization_id = m.organization_id and h.key = m.key and h.since = m.since
where m.organization_id = $1 group by 1, 2, 3 having m.held <> coalesce(sum(h.amount), 0)
"""


class World(msgspec.Struct):
    """One organisation in one database."""

    database: Database
    actor: Actor

    @property
    def organization_id(self) -> UUID:
        return self.actor.organization_id

    async def agent(self, name: str) -> UUID:
        """Make an agent."""
        async with self.database.write(self.organization_id) as session:
            row = AgentRow(id=uuid7(), organization_id=self.organization_id, name=name)
            session.add(row)
        return row.id

    async def budget(
        self,
        metric: Metric,
        period: Period,
        amount: int | str,
        *,
        agent_id: UUID | None = None,
        key_id: UUID | None = None,
    ) -> UUID:
        """Set a budget."""
        subject = Subject.AGENT if agent_id else Subject.API_KEY if key_id else Subject.ORGANIZATION
        async with self.database.write(self.organization_id) as session:
            row = BudgetRow(
                id=uuid7(),
                organization_id=self.organization_id,
                subject=subject,
                agent_id=agent_id,
                key_id=key_id,
                metric=metric,
                period=period,
                amount=Decimal(amount),
            )
            session.add(row)
        return row.id

    async def quota(self, metric: Metric, amount: int) -> None:
        """Set a quota."""
        async with self.database.system() as session:
            session.add(QuotaRow(organization_id=self.organization_id, metric=metric, amount=Decimal(amount)))

    @classmethod
    async def found(cls, database: Database) -> "World":
        """Found an organisation."""
        organization_id = uuid7()
        async with database.system() as session:
            session.add(OrganizationRow(id=organization_id, name=f"Organisation {organization_id}"))
        return cls(database, Actor(organization_id=organization_id, user_id=uuid7(), role="organization_owner"))

    def process(self, over: Database | None = None) -> Ledger:
        """Give the ledger of another process."""
        return Ledger((over or self.database).pool, f"process-{uuid7().hex}", lease=LEASE, patience=5.0)

    def spender(self, **more: Any) -> Spender:
        """Give somebody who spends."""
        return Spender(organization_id=self.organization_id, **more)

    async def beat(self, ledger: Ledger) -> None:
        """Let a process live for the rest of the test."""
        await self.database.pool.execute(
            "insert into processes (id, beat_at) values ($1, now() + interval '1 hour') on conflict do nothing",
            ledger.holder,
            again=True,
        )

    async def die(self, ledger: Ledger, *, silent_since: str | None = None) -> None:
        """Let a process be dead: gone without a trace, or silent since some time."""
        if silent_since is None:
            await self.database.pool.execute("delete from processes where id = $1", ledger.holder, again=True)
        else:
            await self.database.pool.execute(
                f"update processes set beat_at = now() - interval '{silent_since}' where id = $1",  # noqa: S608 - ours
                ledger.holder,
            )

    async def record(self, run_id: UUID, path: str, tokens: int, usd: str | None = None) -> None:
        """Record a step of a run, as its journal does."""
        await self.database.pool.execute(
            "insert into run_steps (organization_id, run_id, path, ord, kind, name, input_tokens, cost_usd) "
            "values ($1, $2, $3, 1, 'model', 'double:echo', $4, $5) on conflict do nothing",
            self.organization_id,
            run_id,
            path,
            tokens,
            None if usd is None else Decimal(usd),
            again=True,
        )

    async def sweep(self, ledger: Ledger) -> None:
        """Let a process look for what dead ones held, sure that the silent are dead."""
        found = 1
        while found:
            ledger._swept, ledger._steady = float("inf"), float("-inf")  # pyright: ignore[reportPrivateUsage] - it has looked for long
            found = await ledger.sweep()

    async def overshot(self) -> list[Any]:
        """Give the meters that are over their limit."""
        return await self.database.pool.fetch(OVERSHOT, self.organization_id, again=True)

    async def unequal(self) -> list[Any]:
        """Give the meters that hold something else than the reservations say."""
        return await self.database.pool.fetch(UNEQUAL, self.organization_id, again=True)

    async def held(self) -> int:
        """Count the reservations."""
        found = await self.database.pool.fetchval(
            "select count(*) from reservations where organization_id = $1", self.organization_id, again=True
        )
        return int(found)

    async def held_by(self, holder: str) -> int:
        """Count the reservations of one process."""
        found = await self.database.pool.fetchval(
            "select count(*) from reservations where holder = $1", holder, again=True
        )
        return int(found)

    async def used(self, key: str) -> Decimal:
        """Give what is used of a limit, in all its periods."""
        found = await self.database.pool.fetchval(
            "select coalesce(sum(used), 0) from meters where organization_id = $1 and key like $2 || '%'",
            self.organization_id,
            key,
            again=True,
        )
        return Decimal(found)

    async def told(self) -> tuple[int, Decimal]:
        """Give the tokens and the money that the usage tells of, by steps and beside them."""
        async with self.database.read(self.organization_id) as session:
            row = (
                await session.execute(
                    text(
                        "select (select coalesce(sum(input_tokens + output_tokens), 0) from run_steps) + "
                        "(select coalesce(sum(input_tokens + output_tokens), 0) from usage_days) as tokens, "
                        "(select coalesce(sum(cost_usd), 0) from run_steps) + "
                        "(select coalesce(sum(cost_usd), 0) from usage_days) as usd"
                    )
                )
            ).one()
        return int(row.tokens), Decimal(row.usd)
