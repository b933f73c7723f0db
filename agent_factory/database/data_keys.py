"""The statements behind data keys: one in use for each organisation, and those from before."""

from uuid import UUID

import msgspec

from agent_factory.database.driver import Row
from agent_factory.database.pool import Pool

_ACTIVE = """
select id, organization_id, kek, wrapped from data_keys
where organization_id is not distinct from $1 and retired_at is null
"""
_ONE = "select id, organization_id, kek, wrapped from data_keys where id = $1"
_ADD = """
insert into data_keys (id, organization_id, kek, wrapped) values ($1, $2, $3, $4)
on conflict (organization_id) where retired_at is null do nothing
"""

_RETIRE = "update data_keys set retired_at = now() where organization_id is not distinct from $1 and retired_at is null"
_OWNERS = "select distinct organization_id from data_keys"
_OTHERWISE = "select id, organization_id, kek, wrapped from data_keys where kek <> $1 order by id"
_REWRAP = "update data_keys set kek = $3, wrapped = $4 where id = $1 and kek = $2"
_WRAPPING = "select distinct kek from data_keys order by kek"


class DataKey(msgspec.Struct, frozen=True):
    """A wrapped key of one organisation, or of the installation itself where there is none; `kek` wrapped it."""

    id: UUID
    organization_id: UUID | None
    kek: str
    wrapped: bytes


async def active(pool: Pool, organization_id: UUID | None) -> DataKey | None:
    """Find the key that an organisation's values are sealed with now."""
    row = await pool.fetchrow(_ACTIVE, organization_id, again=True)
    return None if row is None else _read(row)


async def find(pool: Pool, key_id: UUID) -> DataKey | None:
    """Find a key by its id."""
    row = await pool.fetchrow(_ONE, key_id, again=True)
    return None if row is None else _read(row)


async def add(pool: Pool, key: DataKey) -> None:
    """Keep an organisation's first key; another that came first stays."""
    await pool.execute(_ADD, key.id, key.organization_id, key.kek, key.wrapped, again=True)


async def succeed(pool: Pool, key: DataKey) -> None:
    """Put a key in use, and retire the one before: it seals nothing new, and still opens what it has sealed."""
    async with pool.transaction() as connection:
        await connection.execute(_RETIRE, key.organization_id)
        await connection.execute(_ADD, key.id, key.organization_id, key.kek, key.wrapped)


async def organizations(pool: Pool) -> list[UUID | None]:
    """List whose keys there are; None is the installation itself."""
    return [row["organization_id"] for row in await pool.fetch(_OWNERS, again=True)]


async def wrapped_otherwise(pool: Pool, kek: str) -> list[DataKey]:
    """List the keys that another key than this one wraps."""
    return [_read(row) for row in await pool.fetch(_OTHERWISE, kek, again=True)]


async def rewrap(pool: Pool, before: DataKey, after: DataKey) -> None:
    """Keep a key as wrapped anew, unless somebody else has done so meanwhile."""
    await pool.execute(_REWRAP, before.id, before.kek, after.kek, after.wrapped)


async def wrapping(pool: Pool) -> list[str]:
    """Name the keys that wrap the data keys of this database."""
    return [row["kek"] for row in await pool.fetch(_WRAPPING, again=True)]


def _read(row: Row) -> DataKey:
    return DataKey(row["id"], row["organization_id"], row["kek"], row["wrapped"])
