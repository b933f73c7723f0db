"""The key that signs the trail is replaced while everything runs, and nothing that was signed is lost (S198)."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent_factory.database import audit as store
from agent_factory.database.driver import connector
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.kit.ids import uuid7
from agent_factory.security import audit
from agent_factory.security.audit import Event, Finding, Progress, Touched, Trail, checkpoints
from agent_factory.security.audit.checkpoints import Checkpoint
from agent_factory.security.audit.sealer import KEY_ROTATED
from tests.security.sealing import trail_of


@pytest.fixture
async def fresh(fresh_database_url: str) -> AsyncGenerator[Database]:
    opened = Database(fresh_database_url)
    yield opened
    await opened.close()


async def written(database: Database, count: int, organization: UUID | None = None) -> None:
    for number in range(count):
        event = Event(action="agents_update", organization_id=organization, details={"number": number})
        await audit.record_alone(database.pool, event)


async def verified(trail: Trail) -> tuple[list[Finding], Progress]:
    progress = Progress()
    return [f async for f in trail.verify(progress=progress)], progress


async def test_what_old_keys_have_signed_stays_good_and_the_verifier_knows_who_signed_what(
    fresh: Database, tmp_path: Path
) -> None:
    trail = trail_of(fresh, tmp_path, checkpoint_rows=10)
    sealer = trail.sealer()
    keys: list[UUID] = []
    for _ in range(3):
        await written(fresh, 25)
        await sealer.finish()
        keys.append((await trail.keys.signer(fresh.pool)).id)
        assert await sealer.rotate() != keys[-1]
    await written(fresh, 1)
    await sealer.finish()
    findings, progress = await verified(trail_of(fresh, tmp_path))
    assert findings == []
    newest = (await trail.keys.signer(fresh.pool)).id
    assert list(progress.signers) == [*keys, newest]
    spans = list(progress.signers.values())
    assert spans[0][0] == 1
    assert [span[0] for span in spans[1:]] == [span[1] + 1 for span in spans[:-1]]
    assert spans[-1][1] == progress.checkpoints


async def test_the_last_that_a_key_signs_names_the_next(fresh: Database, tmp_path: Path) -> None:
    """So whoever trusts the first key can follow the trail itself to the newest."""
    trail = trail_of(fresh, tmp_path)
    await written(fresh, 3)
    before = (await trail.keys.signer(fresh.pool)).id
    after = await trail.sealer().rotate()
    (row,) = [row for row in await store.sealed(fresh.pool, 1, 100) if row.event and row.event.action == KEY_ROTATED]
    assert row.event is not None
    public = {str(key.id): key.public_key.hex() for key in await store.keys(fresh.pool, "sign")}
    assert row.event.details == {"next": str(after), "public": public[str(after)], "replaced": str(before)}
    over = await store.covering(fresh.pool, row.seal.sequence)
    assert over is not None
    assert over.key_id == before
    assert over.last == row.seal.sequence


async def test_every_process_signs_by_the_new_key_from_then_on(fresh: Database, tmp_path: Path) -> None:
    """Also those that had the old one open, while they seal and sign under load."""
    trails = [trail_of(fresh, tmp_path, checkpoint_rows=5) for _ in range(3)]
    sealers = [trail.sealer() for trail in trails]
    rotated = asyncio.Event()

    async def work(number: int) -> None:
        while not rotated.is_set():
            await written(fresh, 3, uuid7())
            await sealers[number].seal()
            await sealers[number].sign(at_once=True)

    async def rotate() -> list[UUID]:
        made = [await sealers[0].rotate() for _ in range(5)]
        rotated.set()
        return made

    working = asyncio.gather(*(work(number) for number in range(3)))
    made = await rotate()
    await working
    for sealer in sealers:
        await sealer.finish()
    findings, progress = await verified(trails[0])
    assert findings == []
    assert [key for key in progress.signers if key in made] == [key for key in made if key in progress.signers]
    await written(fresh, 1)
    await sealers[2].finish()
    (newest,) = await store.newest_signatures(fresh.pool, None, 1)
    assert newest.key_id == made[-1]


async def test_a_key_that_was_replaced_signs_nothing_more_that_counts(
    fresh: Database, fresh_database_url: str, tmp_path: Path
) -> None:
    """Somebody who has got hold of an old key forges the end of the chain, and its copies with it."""
    trail = trail_of(fresh, tmp_path)
    stolen = await trail.keys.signer(fresh.pool)
    sealer = trail.sealer()
    await written(fresh, 2)
    await sealer.rotate()
    for _ in range(2):
        await written(fresh, 2)
        await sealer.finish()
    rows = [Checkpoint.of(row) for row in await store.signatures(fresh.pool, 0, 100)]
    owner = await connector(fresh_database_url, None, DatabaseSettings())()
    try:
        for table in ("audit_seals", "audit_checkpoints"):
            await owner.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        last = rows[-1]
        forged = checkpoints.sign(
            stolen.id, stolen.key, before=rows[-2], last=last.last, head=last.head,
            leaves=last.leaves, signed_at=last.signed_at,
        )  # fmt: skip
        await owner.execute("DELETE FROM audit_checkpoints WHERE number = $1", last.number)
        await store.sign(owner, forged)
    finally:
        await owner.close()
    (tmp_path / "copies" / "checkpoints" / f"{last.number:019}.json").unlink()
    findings, _ = await verified(trail)
    assert [(f.touched, f.checkpoint) for f in findings] == [(Touched.CHECKPOINT_FORGED, last.number)]


async def test_a_key_that_is_none_of_ours_does_not_stop_the_signing(
    fresh: Database, fresh_database_url: str, tmp_path: Path
) -> None:
    """Somebody in the database adds a key, so that the newest cannot be opened."""
    trail = trail_of(fresh, tmp_path)
    ours = await trail.keys.signer(fresh.pool)
    (kept,) = await store.keys(fresh.pool, "sign")
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    await fresh.pool.execute(
        "insert into audit_keys (id, purpose, public_key, secret_key) values ($1, 'sign', $2, $3)",
        uuid7(), public, kept.secret_key,
    )  # fmt: skip
    await written(fresh, 2)
    await trail_of(fresh, tmp_path).sealer().finish()
    (signed,) = await store.newest_signatures(fresh.pool, None, 1)
    assert signed.key_id == ours.id


async def test_the_first_key_can_be_replaced_before_it_was_ever_needed(fresh: Database, tmp_path: Path) -> None:
    trail = trail_of(fresh, tmp_path)
    made = await trail.sealer().rotate()
    assert (await trail.keys.signer(fresh.pool)).id == made
    assert len(await store.keys(fresh.pool, "sign")) == 2


async def test_a_rotation_that_fails_leaves_nothing(
    fresh: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = trail_of(fresh, tmp_path)
    sealer = trail.sealer()
    await written(fresh, 2)
    await sealer.finish()

    async def broken(*_: Any) -> None:
        raise asyncpg.PostgresError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "add_next_key", broken)
        with pytest.raises(Exception, match="the disk is full"):
            await sealer.rotate()
    assert len(await store.keys(fresh.pool, "sign")) == 1
    state = await store.state(fresh.pool)
    assert (state.head, state.pending) == (2, False)
    await sealer.rotate()
    await sealer.finish()
    assert (await verified(trail))[0] == []


async def test_signatures_from_before_places_were_signed_stay_good(fresh: Database, tmp_path: Path) -> None:
    """The first version of a checkpoint has shorter leaves, and copies of it know of no version."""
    trail = trail_of(fresh, tmp_path)
    sealer = trail.sealer()
    await written(fresh, 3)
    await sealer.seal()
    signer = await trail.keys.signer(fresh.pool)
    seals = await store.seals(fresh.pool, 1, 3)
    leaves = b"".join(checkpoints.chain.Leaf(s.event_id, s.organization_id, s.digest).encoded() for s in seals)
    row = checkpoints.sign(
        signer.id, signer.key, before=None, last=3, head=seals[-1].hash, leaves=leaves,
        signed_at=seals[-1].sealed_at, version=1,
    )  # fmt: skip
    async with fresh.pool.transaction() as connection:
        await store.sign(connection, row)
    folder = tmp_path / "copies" / "checkpoints"
    folder.mkdir(parents=True)
    text = msgspec.json.decode(row.encoded())
    del text["version"]
    (folder / f"{1:019}.json").write_bytes(msgspec.json.encode(text))
    await written(fresh, 2)
    await sealer.finish()
    findings, progress = await verified(trail)
    assert (findings, progress.signed) == ([], 5)
    versions = [each.version for each in await store.signatures(fresh.pool, 0, 10)]
    assert versions == [1, 2]
