"""The statements behind data keys: one in use for each organisation, and those from before."""

from uuid import UUID

import msgspec

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


class DataKey(msgspec.Struct, frozen=True):
    """A wrapped key of one organisation, or of the installation itself where there is none; `kek` wrapped it."""

    id: UUID
    organization_id: UUID | None
    kek: str
    wrapped: bytes


async def active(pool: Pool, organization_id: UUID | None) -> DataKey | None:
    """Find the key that an organisation's values are sealed with now."""
    row = await pool.fetchrow(_ACTIVE, organization_id, again=True)
    return None if row is None else DataKey(**dict(row))


async def find(pool: Pool, key_id: UUID) -> DataKey | None:
    """Find a key by its id."""
    row = await pool.fetchrow(_ONE, key_id, again=True)
    return None if row is None else DataKey(**dict(row))


async def add(pool: Pool, key: DataKey) -> None:
    """Keep an organisation's first key; another that came first stays."""
    await pool.execute(_ADD, key.id, key.organization_id, key.kek, key.wrapped, again=True)
