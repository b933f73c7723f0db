"""The statements that remove all that belongs to one organisation, whichever tables it is in, piece by piece."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, CursorResult, TextClause, Uuid, bindparam, text

from agent_factory.database.models import OrganizationRow
from agent_factory.database.pool import Pool
from agent_factory.database.session import Database, Session

PURGED = "organizations.purged"
"""The action of the event that says so; the trail is where it is known for ever."""

KEPT = frozenset({"audit_events", "audit_seals"})
"""Tables with organisations' rows that nobody removes: the audit trail."""

_BATCH = 1_000
_PARENTS = 50
_BELONGING = {"run_steps": ("run_id", "runs"), "messages": ("session_id", "sessions")}
"""The largest tables have no index by organisation: their rows are found by what they belong to."""

_DUE = """
select id, name, deleted_at, purge_began_at from organizations
where deleted_at <= $1 or purge_began_at is not null order by deleted_at, id
"""
_BEGIN = text("""
    update organizations set purge_began_at = now()
    where id = :organization_id and purge_began_at is null and deleted_at <= :before
""")
_END = text("delete from organizations where id = :organization_id and purge_began_at is not null")
_REMOVABLE = "select has_table_privilege('af_app', $1, 'DELETE')"
_PEOPLE = text("""
    delete from users where organization_id = :organization_id
        and ctid = any(array(select ctid from users where organization_id = :organization_id limit :rows))
    returning account_id
""")
_ACCOUNTS = bindparam("accounts", type_=ARRAY(Uuid))
_UNUSED_ACCOUNTS = text("""
    delete from accounts a
    where a.id = any(:accounts) and not exists (select from users u where u.account_id = a.id) returning a.id
""").bindparams(_ACCOUNTS)
_THEIR_LOGINS = text("delete from logins where account_id = any(:accounts)").bindparams(_ACCOUNTS)
_GONE = f"select organization_id from audit_events where organization_id = any($1::uuid[]) and action = '{PURGED}'"  # noqa: S608 - the name above


class Doomed(msgspec.Struct, frozen=True):
    """A deleted organisation; once its purge began there is no way back."""

    id: UUID
    name: str
    deleted_at: datetime
    purge_began_at: datetime | None


def tenant_tables() -> list[str]:
    """Name every table with organisations' rows but the organisations themselves, those first that need others."""
    # asked of a model, for only the import of their package makes all the tables known
    tables = reversed(OrganizationRow.metadata.sorted_tables)
    owned = [table.name for table in tables if "organization_id" in table.columns and table.name not in KEPT]
    return [*_BELONGING, *(name for name in owned if name not in _BELONGING)]


async def due(pool: Pool, before: datetime) -> list[Doomed]:
    """List the organisations that were deleted before a moment, or whose purge has begun."""
    rows = await pool.fetch(_DUE, before, again=True)
    return [Doomed(row["id"], row["name"], row["deleted_at"], row["purge_began_at"]) for row in rows]


async def begin(session: Session, organization_id: UUID, before: datetime) -> bool:
    """Close the way back, in a system transaction; false where it is closed, or the organisation was restored."""
    return bool(await _count(session, _BEGIN, organization_id=organization_id, before=before))


async def end(session: Session, organization_id: UUID) -> bool:
    """Delete the organisation itself, in a system transaction; false where somebody else has done so."""
    return bool(await _count(session, _END, organization_id=organization_id))


async def empty(database: Database, organization_id: UUID, table: str) -> AsyncGenerator[int, None]:
    """Delete an organisation's rows of a table, one transaction for each batch; give how many went with each."""
    if table == "users":
        batches = _people(database, organization_id)
    elif table in _BELONGING:
        batches = _belonging(database, organization_id, table)
    else:
        batches = _rows(database, organization_id, table)
    async for count in batches:
        yield count


async def gone(pool: Pool, organizations: Collection[UUID]) -> set[UUID]:
    """Tell of which organisations the trail says that they were purged."""
    return {row["organization_id"] for row in await pool.fetch(_GONE, list(organizations), again=True)}


async def _rows(database: Database, organization_id: UUID, table: str) -> AsyncGenerator[int, None]:
    # in a partitioned table, rows of several parts share a ctid: the organisation is asked for twice
    own = "organization_id = :organization_id"
    delete = text(
        f"delete from {table} where {own} and ctid = any(array(select ctid from {table} where {own} limit :rows))"  # noqa: S608 - the names are those of the models
    )
    count = _BATCH
    while count:
        async with _session(database, organization_id, table) as session:
            count = await _count(session, delete, organization_id=organization_id, rows=_BATCH)
        yield count


async def _belonging(database: Database, organization_id: UUID, table: str) -> AsyncGenerator[int, None]:
    column, parent = _BELONGING[table]
    parents = text(f"select id from {parent} where organization_id = :o and id > :after order by id limit {_PARENTS}")  # noqa: S608 - as above
    delete = text(f"delete from {table} where organization_id = :o and {column} = any(:ids)")  # noqa: S608 - as above
    delete = delete.bindparams(bindparam("ids", type_=ARRAY(Uuid)))
    after = UUID(int=0)
    while True:
        async with _session(database, organization_id, table) as session:
            ids = list(await session.scalars(parents, {"o": organization_id, "after": after}))
            if not ids:
                return
            count = await _count(session, delete, o=organization_id, ids=ids)
        after = max(ids)
        yield count


async def _people(database: Database, organization_id: UUID) -> AsyncGenerator[int, None]:
    """Delete members with those accounts of theirs that are nobody's elsewhere, and where these are logged in."""
    while True:
        async with database.system() as session:
            members = list(await session.scalars(_PEOPLE, {"organization_id": organization_id, "rows": _BATCH}))
            accounts = [account_id for account_id in members if account_id is not None]
            unused = list(await session.scalars(_UNUSED_ACCOUNTS, {"accounts": accounts}))
            await session.execute(_THEIR_LOGINS, {"accounts": unused})
        if not members:
            return
        yield len(members)


@asynccontextmanager
async def _session(database: Database, organization_id: UUID, table: str) -> AsyncGenerator[Session, None]:
    """Open a transaction of the organisation itself, which sees no other's rows, wherever it may delete its own."""
    removable = await database.pool.fetchval(_REMOVABLE, table, again=True)
    async with database.write(organization_id) if removable else database.system() as session:
        yield session


async def _count(session: Session, statement: TextClause, **values: Any) -> int:  # noqa: ANN401 - whatever is bound
    done = await session.execute(statement, values)
    assert isinstance(done, CursorResult)
    return done.rowcount
