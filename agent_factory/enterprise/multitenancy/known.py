"""The limits of organisations, as this process has read them lately."""

import asyncio
import time
from decimal import Decimal
from uuid import UUID

from agent_factory.database.driver import Row
from agent_factory.database.pool import Pool
from agent_factory.enterprise.multitenancy.limits import QUOTA_PERIODS, Limit, Metric, Period, quotas_of
from agent_factory.enterprise.multitenancy.settings import QuotaSettings
from agent_factory.enterprise.multitenancy.statements import LIMITS
from agent_factory.kit.ids import encode

CHANNEL = "af_budgets"
"""Where it is told that limits have changed; the payload is the organisation's id."""

BELIEVED_SECONDS = 5.0
"""How long limits are believed without another look, should nothing be heard of a change."""

_MOST = 10_000
"""Organisations that are remembered."""


class KnownLimits:
    """Reads the limits of an organisation at most once in five seconds."""

    def __init__(self, pool: Pool, quotas: QuotaSettings) -> None:
        """Know nothing yet."""
        self._pool = pool
        self._quotas = quotas
        self._known: dict[UUID, tuple[float, tuple[Limit, ...]]] = {}
        self._looking: dict[UUID, asyncio.Task[tuple[Limit, ...]]] = {}

    async def of(self, organization_id: UUID) -> tuple[Limit, ...]:
        """Give an organisation's limits; raises `Unavailable` while the database is away."""
        known = self._known.get(organization_id)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        looking = self._looking.get(organization_id)
        if looking is None:
            looking = self._looking[organization_id] = asyncio.create_task(self._look(organization_id))
            looking.add_done_callback(lambda done: self._looked(organization_id, done))
        return await asyncio.shield(looking)

    def forget(self, organization_id: UUID | None) -> None:
        """Look again next time, at all organisations where none is named."""
        if organization_id is None:
            self._known.clear()
        else:
            self._known.pop(organization_id, None)

    def _looked(self, organization_id: UUID, done: asyncio.Task[tuple[Limit, ...]]) -> None:
        del self._looking[organization_id]
        if not done.cancelled():
            done.exception()  # whoever asked may have left by now, and nobody else will look at it

    async def _look(self, organization_id: UUID) -> tuple[Limit, ...]:
        asked = time.monotonic()
        rows = await self._pool.fetch(LIMITS, organization_id, again=True)
        own: dict[str, Decimal | None] = {row["metric"]: row["amount"] for row in rows if row["budget_id"] is None}
        quotas = quotas_of(self._quotas, own)
        found = tuple(
            Limit(metric=metric, period=QUOTA_PERIODS[metric], amount=amount)
            for metric, amount in quotas.items()
            if amount is not None
        ) + tuple(
            Limit(
                metric=Metric(row["metric"]),
                period=Period(row["period"]),
                amount=row["amount"],
                budget_id=row["budget_id"],
                agent=row["agent"],
                agent_id=row["agent_id"],
                names=_names(row),
                key_id=row["key_id"],
                keys=frozenset(row["keys"]),
            )
            for row in rows
            if row["budget_id"] is not None
        )
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[organization_id] = (asked + BELIEVED_SECONDS, found)
        return found


def _names(row: Row) -> frozenset[str]:
    """Give what a definition that is at work may call the agent: its names, or its id."""
    if row["agent"] is None:
        return frozenset()
    return frozenset((row["agent"], encode("agt", row["agent_id"]), *row["names"]))
