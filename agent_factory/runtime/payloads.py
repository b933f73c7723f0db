"""The large values of one organisation's runs, in the object store, and how much of it they take."""

import asyncio
import time
from uuid import UUID

import structlog

from agent_factory.database.pool import Pool
from agent_factory.enterprise.multitenancy.errors import LimitReached
from agent_factory.enterprise.multitenancy.ledger import Ledger
from agent_factory.enterprise.multitenancy.limits import Metric, Spender, quota_key
from agent_factory.enterprise.multitenancy.statements import GAUGE, METER, WITH_STORAGE_QUOTA
from agent_factory.kit.errors import Problem
from agent_factory.runtime.flow.outcome import FlowLimit, TaskBroken
from agent_factory.storage.errors import ObjectBroken, ObjectGone, ObjectTooLarge
from agent_factory.storage.store import Store

log = structlog.stdlib.get_logger(__name__)

_RECOUNT_SECONDS = 600.0
_AGAIN_SECONDS = 10.0
"""The shortest time after which a refusal lets an organisation's store be counted again."""

_KEY = quota_key(Metric.STORAGE)


class PayloadLost(TaskBroken):
    """A value that a run names and the store no longer has as it was."""

    code = "payload_lost"
    title = "A large value of the run is gone"


class StoreUse:
    """How much organisations store whose storage is limited: held before a value is stored, counted after it.

    In between two counts of what is really there, what is stored again counts
    again, and what was deleted still counts: never too little.
    """

    def __init__(self, pool: Pool, ledger: Ledger, store: Store) -> None:
        """Count nothing yet."""
        self._pool = pool
        self._ledger = ledger
        self._store = store
        self._counted: dict[UUID, float] = {}

    async def put(self, organization_id: UUID, data: bytes) -> str:
        """Store a value and return its digest; raises `QuotaExceeded` where there is no room for it."""
        size = {Metric.STORAGE: len(data)}
        spender = Spender(organization_id=organization_id)
        if any(limit.metric is Metric.STORAGE for limit in await self._ledger.binding(spender)):
            await self._count_first(organization_id)
        try:
            held = await self._ledger.reserve(spender, size)
        except LimitReached:
            if not await self._count_again(organization_id):
                raise
            held = await self._ledger.reserve(spender, size)
        try:
            digest = await self._store.put(str(organization_id), data)
        except BaseException:
            if held is not None:
                self._ledger.settle_soon(held, {})
            raise
        if held is not None:
            await self._ledger.settle(held, size)
        return digest

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


class StoredPayloads:
    """What `FlowContext.payloads` is on a server."""

    def __init__(self, store: Store, organization_id: str, use: StoreUse | None = None) -> None:
        """Keep to one organisation; what it stores is counted in `use`."""
        self._store = store
        self._organization_id = organization_id
        self._use = use

    async def put(self, data: bytes) -> str:
        """Store JSON and return its digest.

        Raises `FlowLimit` for what is larger than one value may be, and
        `QuotaExceeded` where the organisation has no room for it.
        """
        try:
            if self._use is None:
                return await self._store.put(self._organization_id, data)
            return await self._use.put(UUID(self._organization_id), data)
        except ObjectTooLarge as error:
            raise FlowLimit(f"A task gave too much: {error.detail}") from None

    async def get(self, digest: str) -> bytes:
        """Return what was stored; `PayloadLost` where it is gone or damaged."""
        try:
            return await self._store.get(self._organization_id, digest)
        except (ObjectGone, ObjectBroken) as error:
            raise PayloadLost(error.detail) from None
