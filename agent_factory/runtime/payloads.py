"""The large values of one organisation's runs, in the object store."""

from uuid import UUID

from agent_factory.runtime.flow.outcome import FlowLimit, TaskBroken
from agent_factory.runtime.stored import StoreUse
from agent_factory.storage.errors import ObjectBroken, ObjectGone, ObjectTooLarge
from agent_factory.storage.store import Store


class PayloadLost(TaskBroken):
    """A value that a run names and the store no longer has as it was."""

    code = "payload_lost"
    title = "A large value of the run is gone"


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
