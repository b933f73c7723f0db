"""The statements behind the audit trail: appending, sealing, signing and reading back."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from agent_factory.database.driver import Connection, Row
from agent_factory.database.pool import Pool
from agent_factory.database.session import Session


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is written; PostgreSQL adds when."""

    id: UUID
    organization_id: UUID | None
    user_id: UUID | None
    key_id: UUID | None
    session_id: UUID | None
    role: str | None
    action: str
    resource: str | None
    outcome: str
    request_id: str | None
    address: str | None
    user_agent: str | None
    details: dict[str, Any]


class Writes(Protocol):
    """What a statement that writes is run on: a pool, or a connection in a transaction."""

    async def execute(self, sql: str, *args: object) -> str:
        """Run a statement and return its command tag."""
        ...


_FIELDS = Record.__struct_fields__
_APPEND = f"""
insert into audit_events ({", ".join(_FIELDS)})
values ({", ".join(f"${n}" for n in range(1, len(_FIELDS)))}, ${len(_FIELDS)}::jsonb)
"""  # noqa: S608 - the names are the struct's own
_NUMBERS = {name: f"${n}" for n, name in enumerate(_FIELDS, 1)}
_COLUMN_TYPES = dict.fromkeys(("id", "organization_id", "user_id", "key_id", "session_id"), "uuid") | {
    "details": "jsonb"
}
_APPEND_ONCE = f"""
insert into audit_events ({", ".join(_FIELDS)})
select {", ".join(f"{_NUMBERS[name]}::{_COLUMN_TYPES.get(name, 'text')}" for name in _FIELDS)}
where not exists (
    select from audit_events where organization_id = {_NUMBERS["organization_id"]}::uuid
        and resource = {_NUMBERS["resource"]}::text and action = {_NUMBERS["action"]}::text
)
"""  # noqa: S608


async def append(session: Session, record: Record) -> None:
    """Write an event into a transaction, after what the session has to write before."""
    await session.flush()
    *plain, details = (getattr(record, name) for name in _FIELDS)
    connection = await session.connection()
    await connection.exec_driver_sql(_APPEND, (*plain, msgspec.json.encode(details).decode()))


async def append_once(writes: Writes, record: Record) -> None:
    """Write an event, unless the organisation has one of the same action about the same resource."""
    *plain, details = (getattr(record, name) for name in _FIELDS)
    await writes.execute(_APPEND_ONCE, *plain, msgspec.json.encode(details).decode())


async def append_alone(writes: Writes, record: Record) -> None:
    """Write an event, for whichever organisation: in a transaction of its own, or in that of a connection."""
    *plain, details = (getattr(record, name) for name in _FIELDS)
    await writes.execute(_APPEND, *plain, msgspec.json.encode(details).decode())


class Reads(Protocol):
    """What statements that only read are run on: a pool, or a connection in a transaction."""

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Run a statement and return its rows."""
        ...


class Event(Record, frozen=True, kw_only=True):
    """An event as it is read back."""

    occurred_at: datetime


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """An event's place in the chain."""

    sequence: int
    event_id: UUID
    organization_id: UUID | None
    position: int
    digest: bytes
    previous: bytes
    hash: bytes
    own_previous: bytes
    own_hash: bytes
    sealed_at: datetime


class Sealed(msgspec.Struct, frozen=True):
    """A seal and its event, which is absent where it was deleted."""

    seal: Seal
    event: Event | None


class Place(msgspec.Struct, frozen=True):
    """Where a chain ends."""

    number: int
    hash: bytes


def _listed(struct: type[msgspec.Struct], alias: str) -> str:
    names = struct.__struct_fields__
    return ", ".join(f"{alias}.details::text as details" if n == "details" else f"{alias}.{n}" for n in names)


_EVENT = _listed(Event, "e")
_SEAL_NAMES = Seal.__struct_fields__
_SEAL = ", ".join(f"s.{name} as s_{name}" for name in _SEAL_NAMES)
_TYPES = {"sequence": "bigint", "position": "bigint", "sealed_at": "timestamptz"} | dict.fromkeys(
    ("event_id", "organization_id"), "uuid"
)

_LOCK = "select pg_try_advisory_xact_lock(1635083369)"
_LOCK_IN_TURN = "select pg_advisory_xact_lock(1635083369)"
_HEAD = "select sequence as number, hash from audit_seals order by sequence desc limit 1"
_PENDING = f"""
select {_EVENT} from audit_pending p join audit_events e on e.id = p.event_id order by p.event_id limit $1
"""  # noqa: S608 - the names are the structs' own, here and below
_OWN_HEADS = """
select o.id as organization_id, s.position as number, s.own_hash as hash
from unnest($1::uuid[]) as o(id)
cross join lateral (
    select position, own_hash from audit_seals where organization_id = o.id order by position desc limit 1
) s
union all
select null, s.position, s.own_hash
from (select position, own_hash from audit_seals where organization_id is null order by position desc limit 1) s
"""
_SEAL_ALL = f"""
insert into audit_seals ({", ".join(_SEAL_NAMES)})
select * from unnest({", ".join(f"${n}::{_TYPES.get(name, 'bytea')}[]" for n, name in enumerate(_SEAL_NAMES, 1))})
"""  # noqa: S608
_TAKE = "delete from audit_pending where event_id = any($1::uuid[])"
_BETWEEN = f"""
select {_SEAL}, {_EVENT} from audit_seals s left join audit_events e on e.id = s.event_id
where s.sequence between $1 and $2 and ($3::uuid is null or s.organization_id = $3)
order by s.sequence
"""  # noqa: S608
_AFTER = f"""
select {_SEAL}, {_EVENT} from audit_seals s left join audit_events e on e.id = s.event_id
where s.sequence > $1 and s.sequence <= $2 and ($4::uuid is null or s.organization_id = $4)
order by s.sequence limit $3
"""  # noqa: S608
_SEALS = f"""
select {_SEAL} from audit_seals s where s.sequence between $1 and $2 order by s.sequence
"""  # noqa: S608


async def lock(connection: Connection) -> bool:
    """Become the one who seals and signs until the transaction ends; false if another is."""
    return bool(await connection.fetchval(_LOCK))


async def lock_in_turn(connection: Connection) -> None:
    """Become the one who seals and signs until the transaction ends, once nobody else is."""
    await connection.execute(_LOCK_IN_TURN)


async def head(source: Reads) -> Place | None:
    """Tell where the chain ends."""
    rows = await source.fetch(_HEAD)
    return Place(rows[0]["number"], rows[0]["hash"]) if rows else None


async def own_heads(connection: Connection, organizations: set[UUID]) -> dict[UUID | None, Place]:
    """Tell where the chains of some organisations end, and that of what concerns none."""
    rows = await connection.fetch(_OWN_HEADS, list(organizations))
    return {row["organization_id"]: Place(row["number"], row["hash"]) for row in rows}


async def pending(connection: Connection, limit: int) -> list[Event]:
    """List events that have no seal yet, oldest first."""
    return [_event(row) for row in await connection.fetch(_PENDING, limit)]


async def seal(connection: Connection, seals: list[Seal]) -> None:
    """Write seals; their events are pending no more."""
    await connection.execute(_SEAL_ALL, *([getattr(s, name) for s in seals] for name in _SEAL_NAMES))
    await connection.execute(_TAKE, [s.event_id for s in seals])


async def seals(source: Reads, first: int, last: int) -> list[Seal]:
    """Read seals in order."""
    return [_seal(row) for row in await source.fetch(_SEALS, first, last)]


async def sealed(source: Reads, first: int, last: int, organization_id: UUID | None = None) -> list[Sealed]:
    """Read seals with their events in order, of one organisation if it is named."""
    rows = await source.fetch(_BETWEEN, first, last, organization_id)
    return [Sealed(_seal(row), None if row["id"] is None else _event(row)) for row in rows]


async def sealed_after(
    source: Reads, after: int, until: int, limit: int, organization_id: UUID | None = None
) -> list[Sealed]:
    """Read the next seals with their events, of one organisation if it is named."""
    rows = await source.fetch(_AFTER, after, until, limit, organization_id)
    return [Sealed(_seal(row), None if row["id"] is None else _event(row)) for row in rows]


def _event(row: Row) -> Event:
    given = {name: row[name] for name in Event.__struct_fields__ if name != "details"}
    try:
        details = msgspec.json.decode(row["details"])
    except msgspec.DecodeError:  # a number that only PostgreSQL can hold: none of ours
        details = row["details"]
    return Event(**given, details=details)


def _seal(row: Row) -> Seal:
    return Seal(**{name: row[f"s_{name}"] for name in _SEAL_NAMES})


class Key(msgspec.Struct, frozen=True):
    """A key of the trail; its secret half is sealed."""

    id: UUID
    purpose: str
    public_key: bytes
    secret_key: bytes


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A signature over a part of the chain."""

    number: int
    first: int
    last: int
    head: bytes
    root: bytes
    leaves: bytes
    previous: bytes
    key_id: UUID
    signed_at: datetime
    signature: bytes
    version: int = 1


class State(msgspec.Struct, frozen=True):
    """Where the chain ends and how far it is signed; whether events wait, and since when seals do."""

    head: int
    signed: int
    pending: bool
    unsigned_since: datetime | None


class Unsealed(msgspec.Struct, frozen=True):
    """An event without a seal; one that waits for it is `listed`, and one that is gone is not `there`."""

    event_id: UUID
    organization_id: UUID | None
    listed: bool
    there: bool


_SIGNATURE = ", ".join(Signature.__struct_fields__)
_SIGN = f"""
insert into audit_checkpoints ({_SIGNATURE})
values ({", ".join(f"${n}" for n in range(1, len(Signature.__struct_fields__) + 1))})
"""  # noqa: S608
_SIGNATURES = f"select {_SIGNATURE} from audit_checkpoints where number > $1 order by number limit $2"  # noqa: S608
_NEWEST_ONES = f"""
select {_SIGNATURE.replace("leaves", "''::bytea as leaves")} from audit_checkpoints
where $1::bigint is null or number < $1 order by number desc limit $2
"""  # noqa: S608
_KEYS = "select id, purpose, public_key, secret_key from audit_keys where purpose = $1 order by created_at, id"
_ADD_KEY = """
insert into audit_keys (id, purpose, public_key, secret_key)
select $1, $2::text, $3, $4 where not exists (select from audit_keys where purpose = $2::text)
"""
_ADD_NEXT_KEY = """
insert into audit_keys (id, purpose, public_key, secret_key, created_at) values ($1, $2, $3, $4, clock_timestamp())
"""
_SIGNERS = "select key_id, min(number) as first, max(number) as last from audit_checkpoints group by key_id"
_COVERING = f"""
select {_SIGNATURE} from audit_checkpoints where last >= $1 and first <= $1 order by number limit 1
"""  # noqa: S608
_STATE = """
select coalesce(h.sequence, 0) as head, coalesce(c.last, 0) as signed,
    exists (select from audit_pending) as pending,
    (select sealed_at from audit_seals where sequence = coalesce(c.last, 0) + 1) as unsigned_since
from (select max(sequence) as sequence from audit_seals) h
left join (select last from audit_checkpoints order by number desc limit 1) c on true
"""
_WATCHED = f"""
select {_EVENT}, s.sequence from audit_events e join audit_seals s on s.event_id = e.id
where e.action = any($1::text[]) and e.occurred_at > $2 and s.sequence > $3 order by s.sequence limit $4
"""  # noqa: S608
_UNSEALED = """
with page as materialized (
    select id, organization_id from audit_events
    where id > $1 and ($3::uuid is null or organization_id = $3) order by id limit $2
)
select e.id as event_id, e.organization_id, p.event_id is not null as listed, s.event_id is null as there
from page e
left join audit_seals s on s.event_id = e.id
left join audit_pending p on p.event_id = e.id
where s.event_id is null or e.id = (select id from page order by id desc limit 1)
order by e.id
"""
_LOST = """
select p.event_id, null::uuid as organization_id, true as listed, false as there
from audit_pending p left join audit_events e on e.id = p.event_id
where e.id is null order by p.event_id limit $1
"""
_HASH_AT = "select hash from audit_seals where sequence = $1"


async def sign(connection: Connection, signature: Signature) -> None:
    """Write a signature."""
    await connection.execute(_SIGN, *(getattr(signature, name) for name in Signature.__struct_fields__))


async def signatures(source: Reads, after: int, limit: int) -> list[Signature]:
    """Read signatures in order, those with a higher number."""
    return [_signature(row) for row in await source.fetch(_SIGNATURES, after, limit)]


async def newest_signatures(source: Reads, before: int | None, limit: int) -> list[Signature]:
    """Read signatures, newest first and without their leaves, those with a lower number if one is named."""
    return [_signature(row) for row in await source.fetch(_NEWEST_ONES, before, limit)]


async def newest_signature(source: Reads) -> Signature | None:
    """Read the last signature, without its leaves."""
    rows = await newest_signatures(source, None, 1)
    return rows[0] if rows else None


async def keys(source: Reads, purpose: str) -> list[Key]:
    """Read the keys for one purpose, oldest first."""
    return [
        Key(row["id"], row["purpose"], row["public_key"], row["secret_key"])
        for row in await source.fetch(_KEYS, purpose)
    ]


async def add_first_key(pool: Pool, key: Key) -> None:
    """Keep a key, unless there is one for its purpose."""
    await pool.execute(_ADD_KEY, key.id, key.purpose, key.public_key, key.secret_key)


async def add_next_key(connection: Connection, key: Key) -> None:
    """Keep a key that follows others of its purpose."""
    await connection.execute(_ADD_NEXT_KEY, key.id, key.purpose, key.public_key, key.secret_key)


async def signers(source: Reads) -> dict[UUID, tuple[int, int]]:
    """Tell the first and the last signature of each key."""
    return {row["key_id"]: (row["first"], row["last"]) for row in await source.fetch(_SIGNERS)}


async def covering(source: Reads, sequence: int) -> Signature | None:
    """Read the signature over a seal, if it is signed."""
    rows = await source.fetch(_COVERING, sequence)
    return _signature(rows[0]) if rows else None


async def state(pool: Pool) -> State:
    """Tell what there is to do."""
    row = await pool.fetchrow(_STATE, again=True)
    assert row is not None, "the statement always gives a row"
    return State(row["head"], row["signed"], row["pending"], row["unsigned_since"])


async def watched(
    connection: Connection, actions: Sequence[str], since: datetime, after: int, limit: int
) -> list[tuple[int, Event]]:
    """Read sealed events of some kinds that are newer than a time and than a place in the chain."""
    rows = await connection.fetch(_WATCHED, list(actions), since, after, limit)
    return [(row["sequence"], _event(row)) for row in rows]


async def hash_at(connection: Connection, sequence: int) -> bytes | None:
    """Tell the hash of a seal, if it is there."""
    return await connection.fetchval(_HASH_AT, sequence)


async def unsealed(
    source: Reads, after: UUID, limit: int, organization_id: UUID | None = None
) -> tuple[list[Unsealed], UUID | None]:
    """Look at the next events by id, for those without a seal; give them, and the last id that was looked at."""
    rows = await source.fetch(_UNSEALED, after, limit, organization_id)
    return [_unsealed(row) for row in rows if row["there"]], rows[-1]["event_id"] if rows else None


async def lost(source: Reads, limit: int) -> list[Unsealed]:
    """List events that waited for their seal and are gone."""
    return [_unsealed(row) for row in await source.fetch(_LOST, limit)]


def _signature(row: Row) -> Signature:
    return Signature(**{name: row[name] for name in Signature.__struct_fields__})


def _unsealed(row: Row) -> Unsealed:
    return Unsealed(row["event_id"], row["organization_id"], row["listed"], row["there"])
