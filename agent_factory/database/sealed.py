"""The columns that hold sealed values, and the statements that seal them anew."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.database.base import PLAIN, Sealed, SealedBytes
from agent_factory.database.driver import Row
from agent_factory.database.models import DataKeyRow
from agent_factory.database.pool import Pool

_BATCH = 100


class SealedColumn(msgspec.Struct, frozen=True):
    """A column of sealed values; `plain` is the one that they were in before they were sealed.

    `organization` is none where the rows belong to the installation itself.
    """

    table: str
    column: str
    key: str
    organization: str | None = None
    plain: str | None = None


class SealedValue(msgspec.Struct, frozen=True):
    """One value with its row's primary key."""

    row: Any
    organization_id: UUID | None
    value: bytes


def sealed_columns() -> Iterator[SealedColumn]:
    """List every column of the models that holds sealed values."""
    # asked of a model, for only the import of their package makes all the tables known
    for table in DataKeyRow.metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, SealedBytes):
                (key,) = table.primary_key.columns  # a value's place names its row by one column
                organization = "organization_id" if "organization_id" in table.columns else None
                yield SealedColumn(table.name, column.name, key.name, organization, column.info.get(PLAIN))


async def under_old_keys(pool: Pool, column: SealedColumn) -> list[SealedValue]:
    """List some values that retired keys seal."""
    sql = f"""
    select t.{column.key} as row, {_owner(column)} as organization_id, t.{column.column} as value from {column.table} t
    join data_keys k on k.id = {_key_id(column)} and k.retired_at is not null
    where t.{column.column} is not null limit {_BATCH}
    """  # noqa: S608 - the names are those of the models
    return [_read(row) for row in await pool.fetch(sql, again=True)]


async def in_the_clear(pool: Pool, column: SealedColumn) -> list[SealedValue]:
    """List some values that are not sealed yet."""
    if column.plain is None:
        return []
    sql = f"""
    select t.{column.key} as row, {_owner(column)} as organization_id, t.{column.plain} as value from {column.table} t
    where t.{column.plain} is not null and t.{column.column} is null limit {_BATCH}
    """  # noqa: S608 - as above
    return [_read(row) for row in await pool.fetch(sql, again=True)]


async def replace(pool: Pool, column: SealedColumn, before: SealedValue, sealed: Sealed) -> None:
    """Put a value sealed anew in the place of the one before, unless that has changed meanwhile."""
    sql = f"update {column.table} set {column.column} = $1 where {column.key} = $2 and {column.column} = $3"  # noqa: S608 - as above
    await pool.execute(sql, sealed, before.row, before.value)


async def seal(pool: Pool, column: SealedColumn, before: SealedValue, sealed: Sealed) -> None:
    """Put a sealed value in the place of one in the clear, unless that has changed meanwhile."""
    sql = f"""
    update {column.table} set {column.column} = $1, {column.plain} = null
    where {column.key} = $2 and {column.plain} = $3
    """  # noqa: S608 - as above
    await pool.execute(sql, sealed, before.row, before.value)


async def drop_unused_keys(pool: Pool) -> int:
    """Delete the keys that were retired more than an hour ago, and seal nothing any more; give their number."""
    used = " ".join(f"and not exists (select from {c.table} t where {_key_id(c)} = k.id)" for c in sealed_columns())
    sql = f"delete from data_keys k where k.retired_at < now() - interval '1 hour' {used}"  # noqa: S608 - as above
    return int((await pool.execute(sql)).rpartition(" ")[2])


def _read(row: Row) -> SealedValue:
    return SealedValue(row["row"], row["organization_id"], row["value"])


def _owner(column: SealedColumn) -> str:
    return f"t.{column.organization}" if column.organization else "null::uuid"


def _key_id(column: SealedColumn) -> str:
    """Read the data key's id out of a sealed value: its bytes 2 to 17."""
    return f"encode(substring(t.{column.column} from 2 for 16), 'hex')::uuid"
