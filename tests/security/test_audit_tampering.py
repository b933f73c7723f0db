"""Whatever is done to the trail behind the product's back, the verifier names the row (S196-S198, abuse 76).

The attacker here owns the tables: triggers and walls are off for them. What
they do not have is the vault's key and the copies of the checkpoints.
"""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent_factory.database import audit as store
from agent_factory.database.driver import Connection, connector
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.security import audit
from agent_factory.security.audit import Finding, Progress, Touched, Trail, chain, checkpoints
from agent_factory.security.audit.checkpoints import Checkpoint
from agent_factory.security.audit.findings import Sources
from agent_factory.security.audit.verifying import verify
from agent_factory.security.audit.witness import Witness
from agent_factory.security.auth import Actor
from agent_factory.storage.settings import StorageSettings
from tests.conftest import new_database
from tests.security.sealing import trail_of

TAMPERINGS = 1_000
_SIGNED, _UNSIGNED, _A_CHECKPOINT = 40, 6, 12
_COLUMNS: dict[str, Callable[[], Any]] = {
    "occurred_at": now,
    "organization_id": uuid7,
    "user_id": uuid7,
    "key_id": uuid7,
    "session_id": uuid7,
    "role": lambda: "viewer",
    "action": lambda: "another",
    "resource": lambda: "agt_another",
    "outcome": lambda: "observed",
    "request_id": lambda: "another",
    "address": lambda: "198.51.100.7",
    "user_agent": lambda: "another",
    "details": lambda: '{"another": true}',
}
_SEAL_COLUMNS: dict[str, Callable[[], Any]] = {
    "organization_id": uuid7,
    "position": lambda: 7_000,
    "digest": lambda: b"\1" * 32,
    "previous": lambda: b"\1" * 32,
    "hash": lambda: b"\1" * 32,
    "own_previous": lambda: b"\1" * 32,
    "own_hash": lambda: b"\1" * 32,
    "sealed_at": now,
}


class Evidence(msgspec.Struct):
    """A chain, and what is known of it from before anybody touched it."""

    rows: Connection
    trail: Trail
    keys: Any
    copies: list[Checkpoint]
    chain: list[store.Sealed]

    async def findings(self, *, witnessed: bool = True, organization_id: UUID | None = None) -> list[Finding]:
        async def copies() -> AsyncGenerator[Checkpoint, None]:
            for copy in self.copies:
                yield copy

        sources = Sources(self.rows, self.keys, copies if witnessed else None)
        return [f async for f in verify(sources, organization_id=organization_id)]


@asynccontextmanager
async def _undone(rows: Connection) -> AsyncGenerator[None]:
    """Undo everything that is done inside."""
    await rows.execute("BEGIN")
    try:
        yield
    finally:
        await rows.execute("ROLLBACK")


Named = set[UUID | int]
"""Events by their ids, checkpoints by their numbers."""


def named(findings: Iterable[Finding]) -> Named:
    return {name for f in findings if (name := f.checkpoint if f.event_id is None else f.event_id) is not None}


@pytest.fixture(scope="module")
async def evidence(postgres: Any, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Evidence]:
    """A chain of three organisations and nobody: most of it signed, its end not yet."""
    folder = tmp_path_factory.mktemp("audit")
    async with new_database(postgres.url, f"TEMPLATE {template}") as url:
        database = Database(url)
        rows = await connector(url, None, DatabaseSettings())()
        try:
            trail = trail_of(database, folder, checkpoint_rows=_A_CHECKPOINT)
            await _fill(database, trail)
            witness = Witness(StorageSettings(), folder / "copies")
            keys = await trail.keys.trusted()
            await _disarm(rows)
            kept = await store.sealed(rows, 1, 10_000)
            yield Evidence(rows, trail, keys, [copy async for copy in witness.all()], kept)
        finally:
            await rows.close()
            await database.close()


async def _fill(database: Database, trail: Trail) -> None:
    sealer = trail.sealer()
    organizations = [uuid7(), uuid7(), uuid7()]
    for number in range(_SIGNED + _UNSIGNED):
        actor = Actor(organization_id=organizations[number % 3], user_id=uuid7(), role="developer", key_id=uuid7())
        scope = {"state": {"request_id": f"request-{number}"}, "client": ("203.0.113.5", 1), "headers": []}
        event = audit.Event(action="agents_update", actor=actor, resource=f"agt_{number}", details={"number": number})
        if number % 10 == 0:
            event = audit.Event(action="auth.login_failed", outcome=audit.Outcome.FAILED, details={"account": "x"})
        with audit.during(scope):
            await audit.record_alone(database.pool, event)
        if number == _SIGNED - 1:
            await sealer.finish()
    assert await sealer.seal() == _UNSIGNED


async def _disarm(rows: Connection) -> None:
    """Take the attacker's obstacles away, as an owner of the tables can."""
    for table in ("audit_events", "audit_seals", "audit_checkpoints", "audit_keys"):
        await rows.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        await rows.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")


class Attacker:
    """Somebody with all rights in the database; each way of tampering says what has to be named."""

    def __init__(self, evidence: Evidence, dice: random.Random) -> None:
        self.rows = evidence.rows
        self.chain = evidence.chain
        self.dice = dice

    def _one(self, first: int = 1, last: int = _SIGNED) -> store.Sealed:
        return self.chain[self.dice.randint(first, last) - 1]

    async def edit_an_event(self) -> Named:
        target = self._one(last=_SIGNED + _UNSIGNED)
        await self._edit(target.seal.event_id)
        return {target.seal.event_id}

    async def edit_and_seal_anew(self) -> Named:
        target = self._one()
        await self._edit(target.seal.event_id)
        await self._chain_anew(target.seal.sequence, [row.seal for row in self.chain])
        return {target.seal.event_id}

    async def edit_and_sign_anew(self) -> Named:
        """Also with a key of their own, and one of ours in its name."""
        named = await self.edit_and_seal_anew()
        return named | await self.sign_with_another_key()

    async def edit_a_seal(self) -> Named:
        target = self._one(last=_SIGNED + _UNSIGNED)
        column = self.dice.choice(sorted(_SEAL_COLUMNS))
        await self.rows.execute(
            f"UPDATE audit_seals SET {column} = $1 WHERE sequence = $2",  # noqa: S608 - the names above
            _SEAL_COLUMNS[column](),
            target.seal.sequence,
        )
        return {target.seal.event_id}

    async def rewrite_a_seal(self) -> Named:
        """So that it is sound in itself."""
        seal = msgspec.structs.replace(self._one().seal, sealed_at=now())
        await self.rows.execute(
            "UPDATE audit_seals SET sealed_at = $1, hash = $2 WHERE sequence = $3",
            seal.sealed_at,
            chain.seal_hash(seal),
            seal.sequence,
        )
        return {seal.event_id}

    async def delete_an_event(self) -> Named:
        target = self._one(last=_SIGNED + _UNSIGNED)
        await self._delete([target.seal.event_id])
        return {target.seal.event_id}

    async def delete_an_event_and_its_seal(self) -> Named:
        target = self._one()
        await self._delete([target.seal.event_id], sealed=True)
        return {target.seal.event_id}

    async def delete_and_close_the_gap(self) -> Named:
        target = self._one()
        await self._delete([target.seal.event_id], sealed=True)
        left = [row.seal for row in self.chain if row is not target]
        await self._chain_anew(target.seal.sequence, left)
        return {target.seal.event_id}

    async def insert_an_event(self) -> Named:
        return {await self._insert()}

    async def insert_into_the_chain(self) -> Named:
        event_id = await self._insert()
        place = self.dice.randint(1, _SIGNED)
        seals = [row.seal for row in self.chain]
        seals.insert(place - 1, msgspec.structs.replace(seals[0], event_id=event_id))
        await self._chain_anew(place, seals)
        return {event_id}

    async def swap_two_events(self) -> Named:
        one, other = self.dice.sample(self.chain[:_SIGNED], 2)
        ids = (one.seal.event_id, other.seal.event_id, uuid7())
        for old, new in ((ids[0], ids[2]), (ids[1], ids[0]), (ids[2], ids[1])):
            await self.rows.execute("UPDATE audit_events SET id = $1 WHERE id = $2", new, old)
        return set(ids[:2])

    async def swap_two_seals(self) -> Named:
        one, other = (row.seal.sequence for row in self.dice.sample(self.chain[:_SIGNED], 2))
        for old, new in ((one, -1), (other, one), (-1, other)):
            await self.rows.execute("UPDATE audit_seals SET sequence = $1 WHERE sequence = $2", new, old)
        return {self.chain[n - 1].seal.event_id for n in (one, other)}

    async def reorder_and_seal_anew(self) -> Named:
        one, other = sorted(row.seal.sequence for row in self.dice.sample(self.chain[:_SIGNED], 2))
        seals = [row.seal for row in self.chain]
        seals[one - 1], seals[other - 1] = seals[other - 1], seals[one - 1]
        await self._chain_anew(one, seals)
        return {self.chain[n - 1].seal.event_id for n in (one, other)}

    async def swap_two_organizations(self) -> Named:
        """Each gets the event of the other."""
        one, other = self._of_two()
        for target, organization_id in ((one, other.seal.organization_id), (other, one.seal.organization_id)):
            await self.rows.execute(
                "UPDATE audit_events SET organization_id = $1 WHERE id = $2", organization_id, target.seal.event_id
            )
        return {one.seal.event_id, other.seal.event_id}

    async def swap_two_organizations_and_seal_anew(self) -> Named:
        named = await self.swap_two_organizations()
        await self._chain_anew(1, [row.seal for row in self.chain])
        return named

    def _of_two(self) -> tuple[store.Sealed, store.Sealed]:
        one = self._one()
        others = [row for row in self.chain[:_SIGNED] if row.seal.organization_id != one.seal.organization_id]
        return one, self.dice.choice(others)

    async def cut_the_end(self) -> Named:
        start = self.dice.randint(1, _SIGNED)
        gone = [row.seal.event_id for row in self.chain[start - 1 :]]
        await self._delete(gone, sealed=True)
        return set(gone[: _SIGNED - start + 1])

    async def cut_the_end_with_its_checkpoints(self) -> Named:
        named = await self.cut_the_end()
        first = _SIGNED - len(named) + 1
        cut = await self.rows.fetch("DELETE FROM audit_checkpoints WHERE last >= $1 RETURNING number", first)
        return named | {row["number"] for row in cut}

    async def delete_a_checkpoint(self) -> Named:
        number = self._number()
        await self.rows.execute("DELETE FROM audit_checkpoints WHERE number = $1", number)
        return {number}

    async def edit_a_checkpoint(self) -> Named:
        number = self._number()
        column = self.dice.choice(
            ("version", "first", "last", "head", "root", "leaves", "previous", "key_id", "signed_at")
        )
        value: dict[str, Any] = {"version": 1, "first": 2_000, "last": 2_000, "key_id": uuid7(), "signed_at": now()}
        await self.rows.execute(
            f"UPDATE audit_checkpoints SET {column} = $1 WHERE number = $2",  # noqa: S608 - the names above
            value.get(column, b"\1" * 32),
            number,
        )
        return {number}

    async def sign_with_another_key(self) -> Named:
        """A forged checkpoint over what the database says now, its key among ours or in the name of ours."""
        number = self._number()
        row = next(r for r in await store.signatures(self.rows, number - 1, 1))
        forger, key_id = Ed25519PrivateKey.generate(), row.key_id
        if self.dice.random() < 0.5:
            key_id = uuid7()
            await self.rows.execute(
                "INSERT INTO audit_keys (id, purpose, public_key, secret_key) VALUES ($1, 'sign', $2, $3)",
                key_id,
                forger.public_key().public_bytes_raw(),
                (await store.keys(self.rows, "sign"))[0].secret_key,
            )
        seals = await store.seals(self.rows, row.first, row.last)
        leaves = b"".join(chain.Leaf(s.event_id, s.organization_id, s.digest, s.own_hash).encoded() for s in seals)
        before = await store.signatures(self.rows, number - 2, 1) if number > 1 else []
        forged = checkpoints.sign(
            key_id,
            forger,
            before=Checkpoint.of(before[0]) if before else None,
            last=row.last,
            head=seals[-1].hash,
            leaves=leaves,
            signed_at=row.signed_at,
        )
        await self.rows.execute("DELETE FROM audit_checkpoints WHERE number = $1", number)
        await store.sign(self.rows, forged)
        return {number}

    def _number(self) -> int:
        return self.dice.randint(1, -(-_SIGNED // _A_CHECKPOINT))

    async def _edit(self, event_id: UUID) -> None:
        column = self.dice.choice(sorted(_COLUMNS))
        await self.rows.execute(
            f"UPDATE audit_events SET {column} = $1 WHERE id = $2",  # noqa: S608 - the names above
            _COLUMNS[column](),
            event_id,
        )

    async def _delete(self, events: list[UUID], *, sealed: bool = False) -> None:
        await self.rows.execute("DELETE FROM audit_events WHERE id = any($1)", events)
        if sealed:
            await self.rows.execute("DELETE FROM audit_seals WHERE event_id = any($1)", events)

    async def _insert(self) -> UUID:
        event_id = uuid7()
        await self.rows.execute(
            "INSERT INTO audit_events (id, organization_id, action, outcome) VALUES ($1, $2, 'forged', 'succeeded')",
            event_id,
            self.chain[1].seal.organization_id,
        )
        return event_id

    async def _chain_anew(self, first: int, seals: list[store.Seal]) -> None:
        """Number and hash everything as the product would, from a place on."""
        there = {row.id: row for row in await self._events()}
        end, ends, anew = store.Place(0, chain.START), dict[UUID | None, store.Place](), list[store.Seal]()
        for seal in seals:
            event = there[seal.event_id]
            own = ends.get(event.organization_id, store.Place(0, chain.START))
            made = store.Seal(
                sequence=end.number + 1,
                event_id=event.id,
                organization_id=event.organization_id,
                position=own.number + 1,
                digest=chain.digest(event),
                previous=end.hash,
                hash=b"",
                own_previous=own.hash,
                own_hash=b"",
                sealed_at=seal.sealed_at,
            )
            made = msgspec.structs.replace(made, hash=chain.seal_hash(made), own_hash=chain.own_hash(made))
            end, ends[event.organization_id] = (
                store.Place(made.sequence, made.hash),
                store.Place(made.position, made.own_hash),
            )
            anew.append(made)
        await self.rows.execute("DELETE FROM audit_seals WHERE sequence >= $1", first)
        await store.seal(self.rows, anew[first - 1 :])

    async def _events(self) -> list[store.Event]:
        await self.rows.execute("INSERT INTO audit_pending SELECT id FROM audit_events ON CONFLICT DO NOTHING")
        return await store.pending(self.rows, 10_000)


WAYS: dict[str, bool] = {
    "edit_an_event": True,
    "edit_and_seal_anew": True,
    "edit_and_sign_anew": False,
    "edit_a_seal": True,
    "rewrite_a_seal": True,
    "delete_an_event": True,
    "delete_an_event_and_its_seal": True,
    "delete_and_close_the_gap": False,
    "insert_an_event": True,
    "insert_into_the_chain": False,
    "swap_two_events": True,
    "swap_two_seals": True,
    "reorder_and_seal_anew": True,
    "swap_two_organizations": True,
    "swap_two_organizations_and_seal_anew": False,
    "cut_the_end": True,
    "cut_the_end_with_its_checkpoints": True,
    "delete_a_checkpoint": True,
    "edit_a_checkpoint": True,
    "sign_with_another_key": True,
}
"""Each way, and whether nothing beside what was touched may be named: who renumbers the rest touches the rest."""


async def test_a_chain_that_nobody_touched_has_no_fault(evidence: Evidence) -> None:
    progress = Progress()
    found = [f async for f in verify(Sources(evidence.rows, evidence.keys), progress=progress)]
    assert found == []
    assert (progress.events, progress.signed, progress.head) == (_SIGNED + _UNSIGNED, _SIGNED, _SIGNED + _UNSIGNED)
    assert (progress.checkpoints, progress.pending) == (len(evidence.copies), 0)


@pytest.mark.parametrize("way", WAYS)
async def test_every_tampering_is_named(evidence: Evidence, way: str) -> None:
    """1,000 in all, with another seed each: the row that was touched is named, and no other that was not."""
    for seed in range(-(-TAMPERINGS // len(WAYS))):
        attacker = Attacker(evidence, random.Random(f"{way}-{seed}"))  # noqa: S311 - to be repeated, no secret
        async with _undone(evidence.rows):
            tamper: Callable[[], Awaitable[Named]] = getattr(attacker, way)
            touched = await tamper()
            findings = await evidence.findings()
        assert findings, (way, seed)
        assert touched <= named(findings), (way, seed, touched - named(findings), findings[:5])
        if WAYS[way]:
            assert named(findings) == touched, (way, seed, findings)


@pytest.mark.parametrize(
    "way", [way for way in WAYS if "checkpoint" not in way and way not in ("rewrite_a_seal", "sign")]
)
async def test_an_organisation_finds_what_was_done_to_its_own_rows(evidence: Evidence, way: str) -> None:
    """And nobody else's: what is another's is none of its findings."""
    own = evidence.chain[1].seal.organization_id
    mine = {row.seal.event_id for row in evidence.chain if row.seal.organization_id == own}
    theirs = {row.seal.event_id for row in evidence.chain} - mine
    for seed in range(10):
        attacker = Attacker(evidence, random.Random(f"{way}-{seed}"))  # noqa: S311 - to be repeated, no secret
        async with _undone(evidence.rows):
            tamper: Callable[[], Awaitable[Named]] = getattr(attacker, way)
            touched = await tamper()
            found = named(await evidence.findings(organization_id=own))
        assert touched & mine <= found, (way, seed)
        assert not found & theirs - touched, (way, seed)


async def test_without_copies_a_cut_is_found_as_far_as_the_checkpoints_reach(evidence: Evidence) -> None:
    attacker = Attacker(evidence, random.Random(1))  # noqa: S311 - to be repeated, no secret
    async with _undone(evidence.rows):
        touched = await attacker.cut_the_end()
        assert touched <= named(await evidence.findings(witnessed=False))
    async with _undone(evidence.rows):
        await attacker.cut_the_end_with_its_checkpoints()
        assert await evidence.findings(witnessed=False) == []


async def test_an_event_that_went_before_its_seal_came_is_named(evidence: Evidence) -> None:
    waiting, gone = uuid7(), uuid7()
    async with _undone(evidence.rows):
        for event_id in (waiting, gone):
            await evidence.rows.execute("INSERT INTO audit_pending (event_id) VALUES ($1)", event_id)
        await evidence.rows.execute(
            "INSERT INTO audit_events (id, action, outcome) VALUES ($1, 'auth.login_failed', 'failed')", waiting
        )
        findings = await evidence.findings()
    assert [(f.touched, f.event_id) for f in findings] == [(Touched.DELETED, gone)]


async def test_every_checkpoint_that_is_gone_from_between_is_named_without_copies(evidence: Evidence) -> None:
    async with _undone(evidence.rows):
        await evidence.rows.execute("DELETE FROM audit_checkpoints WHERE number IN (1, 2)")
        findings = await evidence.findings(witnessed=False)
    assert [(f.touched, f.checkpoint) for f in findings] == [
        (Touched.CHECKPOINT_DELETED, 1),
        (Touched.CHECKPOINT_DELETED, 2),
    ]
