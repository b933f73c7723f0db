"""What organisations store, held against their quota of bytes (S207)."""

import asyncio
from decimal import Decimal
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from agent_factory.core.tool import ToolContext
from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.errors import QuotaExceeded
from agent_factory.enterprise.multitenancy.ledger import Ledger
from agent_factory.enterprise.multitenancy.limits import Metric
from agent_factory.kit.ids import encode, uuid7
from agent_factory.runtime.payloads import StoredPayloads
from agent_factory.runtime.stored import StoreUse
from agent_factory.services.billing import service
from agent_factory.storage.settings import StorageSettings
from agent_factory.storage.store import Store
from agent_factory.tools.file import plugin
from tests.serving import Client


class Listed(Store):
    """A store whose listing takes until it is let go."""

    def __init__(self, settings: StorageSettings, folder: Path) -> None:
        super().__init__(settings, folder)
        self.listing, self.go_on = asyncio.Event(), asyncio.Event()

    async def items(self, organization_id: str):  # noqa: ANN201 - as the store's own
        found = [item async for item in super().items(organization_id)]
        self.listing.set()
        await self.go_on.wait()
        for item in found:
            yield item


@pytest.fixture
def organization_id(client: Client) -> UUID:
    return client.actor.organization_id


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(StorageSettings(), tmp_path)


async def limited(database: Database, organization_id: UUID, amount: int | None) -> None:
    async with database.system() as session:
        limit = None if amount is None else Decimal(amount)
        await service.set_quota(session, organization_id, Metric.STORAGE, limit)


def process(database: Database, store: Store, workspace: Path = Path("/nowhere")) -> StoreUse:
    """Give the count of a process of its own."""
    return StoreUse(database.pool, Ledger(database.pool, f"stores-{uuid7().hex}"), store, workspace)


async def used(client: Client) -> tuple[str, str]:
    path = f"/api/v1/organizations/{encode('org', client.actor.organization_id)}/quotas"
    (storage,) = [each for each in (await client.get(path)).json()["data"] if each["metric"] == "storage_bytes"]
    return storage["used"], storage["left"]


async def test_what_is_stored_counts_and_what_is_deleted_makes_room_at_once(
    database: Database, client: Client, store: Store, organization_id: UUID
) -> None:
    await limited(database, organization_id, 1000)
    payloads = StoredPayloads(store, str(organization_id), process(database, store))
    first = await payloads.put(b"x" * 600)
    await store.delete(str(organization_id), [first])
    assert await payloads.put(b"y" * 600)
    assert await used(client) == ("600", "400")
    with pytest.raises(QuotaExceeded):
        await payloads.put(b"z" * 600)
    assert await used(client) == ("600", "400")


async def test_what_was_stored_before_a_quota_counts(
    database: Database, client: Client, store: Store, organization_id: UUID
) -> None:
    free = StoredPayloads(store, str(organization_id), process(database, store))
    await free.put(b"x" * 600)
    await limited(database, organization_id, 1000)
    with pytest.raises(QuotaExceeded):
        await StoredPayloads(store, str(organization_id), process(database, store)).put(b"y" * 600)
    await limited(database, organization_id, None)
    await StoredPayloads(store, str(organization_id), process(database, store)).put(b"z" * 600)
    await limited(database, organization_id, 1500)
    with pytest.raises(QuotaExceeded):
        await StoredPayloads(store, str(organization_id), process(database, store)).put(b"y" * 600)
    assert await used(client) == ("1200", "300")


async def test_of_many_who_store_at_once_no_more_fit_in_than_there_is_room_for(
    database: Database, client: Client, store: Store, organization_id: UUID
) -> None:
    """Abuse 70."""
    await limited(database, organization_id, 1000)
    processes = [StoredPayloads(store, str(organization_id), process(database, store)) for _ in range(4)]
    puts = [processes[n % 4].put(f"{n:0100}".encode()) for n in range(40)]
    ended = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(each, str) for each in ended) == 10
    assert all(isinstance(each, str | QuotaExceeded) for each in ended)
    assert await used(client) == ("1000", "0")


async def test_what_is_stored_during_a_count_is_not_forgotten_by_it(
    database: Database, client: Client, tmp_path: Path, organization_id: UUID
) -> None:
    await limited(database, organization_id, 1000)
    await StoredPayloads(
        Store(StorageSettings(), tmp_path), str(organization_id), process(database, Store(StorageSettings(), tmp_path))
    ).put(b"x" * 600)
    slow = Listed(StorageSettings(), tmp_path)
    counting = asyncio.create_task(process(database, slow).count(organization_id))
    await slow.listing.wait()
    quick = Store(StorageSettings(), tmp_path)
    await StoredPayloads(quick, str(organization_id), process(database, quick)).put(b"y" * 300)
    slow.go_on.set()
    await counting
    assert await used(client) == ("900", "100")


async def test_all_that_are_limited_are_counted_anew_and_no_others(
    database: Database, client: Client, store: Store, organization_id: UUID
) -> None:
    await limited(database, organization_id, 1000)
    use = process(database, store)
    digest = await StoredPayloads(store, str(organization_id), use).put(b"x" * 600)
    await store.delete(str(organization_id), [digest])
    await use.count_all()
    assert await used(client) == ("0", "1000")


async def test_files_of_agents_count_beside_the_values_of_runs(
    database: Database, client: Client, store: Store, tmp_path: Path, organization_id: UUID
) -> None:
    await limited(database, organization_id, 1000)
    use = process(database, store, tmp_path / "files")
    resources = {"workspace": tmp_path / "files" / str(organization_id), "room": partial(use.room, organization_id)}
    tools = {each.name: each for each in await plugin.build({})}

    async def call(name: str, **arguments: str) -> None:
        await tools[name].call(arguments, ToolContext(resources=resources))

    await call("file_write", path="notes/a.txt", content="x" * 600)
    assert await used(client) == ("600", "400")
    with pytest.raises(QuotaExceeded):
        await call("file_write", path="b.txt", content="x" * 600)
    with pytest.raises(QuotaExceeded):
        await StoredPayloads(store, str(organization_id), process(database, store, tmp_path / "files")).put(b"y" * 600)
    await call("file_delete", path="notes/a.txt")
    await process(database, store, tmp_path / "files").count(organization_id)
    await call("file_write", path="b.txt", content="x" * 600)
    assert await used(client) == ("600", "400")
