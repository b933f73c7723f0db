"""The large values of one organisation's runs, in the object store."""

import asyncio
from uuid import UUID

import structlog

from agent_factory.database.pool import Pool
from agent_factory.enterprise.multitenancy.ledger import Ledger
from agent_factory.enterprise.multitenancy.limits import Metric, Spender, quota_key
from agent_factory.enterprise.multitenancy.statements import GAUGE, WITH_STORAGE_QUOTA
from agent_factory.kit.errors import Problem
from agent_factory.runtime.flow.outcome import FlowLimit, TaskBroken
from agent_factory.storage.errors import ObjectBroken, ObjectGone, ObjectTooLarge
from agent_factory.storage.store import Store

log = structlog.stdlib.get_logger(__name__)

_RECOUNT_SECONDS = 600.0


class PayloadLost(TaskBroken):
    """A value that a run names and the store no longer has as it was."""

    code = "payload_lost"
    title = "A large value of the run is gone"


class StoredPayloads:
    """What `FlowContext.payloads` is on a server."""

    def __init__(self, store: Store, organization_id: str, ledger: Ledger | None = None) -> None:
        """Keep to one organisation; what it stores is counted in `ledger`."""
        self._store = store
        self._organization_id = organization_id
        self._ledger = ledger

    async def put(self, data: bytes) -> str:
        """Store JSON and return its digest.

        Raises `FlowLimit` for what is larger than one value may be, and
        `QuotaExceeded` where the organisation has no room for it.
        """
        if self._ledger is None:
            return await self._put(data)
        size = {Metric.STORAGE: len(data)}
        held = await self._ledger.reserve(Spender(organization_id=UUID(self._organization_id)), size)
        try:
            digest = await self._put(data)
        except BaseException:
            if held is not None:
                self._ledger.settle_soon(held, {})
            raise
        if held is not None:
            await self._ledger.settle(held, size)
        return digest

    async def _put(self, data: bytes) -> str:
        try:
            return await self._store.put(self._organization_id, data)
        except ObjectTooLarge as error:
            raise FlowLimit(f"A task gave too much: {error.detail}") from None

    async def get(self, digest: str) -> bytes:
        """Return what was stored; `PayloadLost` where it is gone or damaged."""
        try:
            return await self._store.get(self._organization_id, digest)
        except (ObjectGone, ObjectBroken) as error:
            raise PayloadLost(error.detail) from None


async def recount_forever(pool: Pool, ledger: Ledger, store: Store) -> None:
    """Look every ten minutes what organisations really store whose storage is limited, until cancelled.

    In between, what is stored again counts again, and what is deleted still counts.
    """
    while True:
        try:
            await recount(pool, ledger, store)
        except Problem as problem:
            log.info("stored values could not be counted; that is tried again", reason=problem.detail)
        except Exception:
            log.exception("stored values could not be counted; that is tried again")
        await asyncio.sleep(_RECOUNT_SECONDS)


async def recount(pool: Pool, ledger: Ledger, store: Store) -> None:
    """Look once."""
    limited = ledger.quotas.storage_bytes is not None
    for row in await pool.fetch(WITH_STORAGE_QUOTA, limited, again=True):
        size = sum([item.bytes async for item in store.items(str(row["id"]))])
        await pool.execute(GAUGE, row["id"], quota_key(Metric.STORAGE), size, again=True)
