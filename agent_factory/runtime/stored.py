"""How much organisations store: the large values of their runs, and the files of their agents."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID

import structlog

from agent_factory.database.pool import Pool
from agent_factory.enterprise.multitenancy.errors import LimitReached
from agent_factory.enterprise.multitenancy.ledger import Ledger, Reservation
from agent_factory.enterprise.multitenancy.limits import Amounts, Metric, Spender, quota_key
from agent_factory.enterprise.multitenancy.statements import GAUGE, METER, WITH_STORAGE_QUOTA
from agent_factory.kit.errors import Problem
from agent_factory.storage.store import Store

log = structlog.stdlib.get_logger(__name__)

_RECOUNT_SECONDS = 600.0
_AGAIN_SECONDS = 10.0
"""The shortest time after which a refusal lets an organisation's store be counted again."""

_KEY = quota_key(Metric.STORAGE)


class StoreUse:
    """How much organisations store whose storage is limited: held before something is stored, counted after it.

    In between two counts of what is really there, what is stored again counts
    again, and what was deleted still counts: never too little.
    """

    def __init__(self, pool: Pool, ledger: Ledger, store: Store, workspace: Path) -> None:
        """Count nothing yet; `workspace` has a folder of files for each organisation."""
        self._pool = pool
        self._ledger = ledger
        self._store = store
        self._workspace = workspace
        self._counted: dict[UUID, float] = {}

    async def put(self, organization_id: UUID, data: bytes) -> str:
        """Store a value and return its digest; raises `QuotaExceeded` where there is no room for it."""
        async with self.room(organization_id, len(data)):
            return await self._store.put(str(organization_id), data)

    @asynccontextmanager
    async def room(self, organization_id: UUID, count: int) -> AsyncGenerator[None, None]:
        """Hold room for so many bytes more, which the block stores; raises `QuotaExceeded` where there is none."""
        size = {Metric.STORAGE: count}
        held = await self._hold(organization_id, size)
        try:
            yield
        except BaseException:
            if held is not None:
                self._ledger.settle_soon(held, {})
            raise
        if held is not None:
            await self._ledger.settle(held, size)

    async def _hold(self, organization_id: UUID, size: Amounts) -> Reservation | None:
        spender = Spender(organization_id=organization_id)
        if any(limit.metric is Metric.STORAGE for limit in await self._ledger.binding(spender)):
            await self._count_first(organization_id)
        try:
            return await self._ledger.reserve(spender, size)
        except LimitReached:
            if not await self._count_again(organization_id):
                raise
            return await self._ledger.reserve(spender, size)

    async def count_forever(self) -> None:
        """Look every ten minutes what is really there, until cancelled."""
        while True:
            try:
                await self.count_all()
            except Problem as problem:
                log.info("stored values could not be counted; that is tried again", reason=problem.detail)
            except Exception:
                log.exception("stored values could not be counted; that is tried again")
            await asyncio.sleep(_RECOUNT_SECONDS)

    async def count_all(self) -> None:
        """Look once."""
        limited = self._ledger.quotas.storage_bytes is not None
        for row in await self._pool.fetch(WITH_STORAGE_QUOTA, limited, again=True):
            await self.count(row["id"])

    async def count(self, organization_id: UUID) -> None:
        """Count what one organisation stores; while it stores more, what was counted before stands."""
        before = await self._used(organization_id)
        size = sum([item.bytes async for item in self._store.items(str(organization_id))])
        size += await asyncio.to_thread(_bytes_below, self._workspace / str(organization_id))
        await self._pool.execute(GAUGE, organization_id, _KEY, size, before, again=True)

    async def _count_first(self, organization_id: UUID) -> None:
        if await self._used(organization_id) is None:
            await self.count(organization_id)

    async def _count_again(self, organization_id: UUID) -> bool:
        moment = time.monotonic()
        if moment - self._counted.get(organization_id, float("-inf")) < _AGAIN_SECONDS:
            return False
        self._counted = {each: at for each, at in self._counted.items() if moment - at < _AGAIN_SECONDS}
        self._counted[organization_id] = moment
        await self.count(organization_id)
        return True

    async def _used(self, organization_id: UUID) -> int | None:
        """Give what counts as stored; None where it was never counted."""
        return await self._pool.fetchval(METER, organization_id, _KEY, again=True)


def _bytes_below(folder: Path) -> int:
    """Add up the files below a folder; links are not followed."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # deleted meanwhile
                total += (Path(root) / name).lstat().st_size
    return total
