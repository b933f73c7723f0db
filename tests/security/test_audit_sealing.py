"""Sealing: whoever writes, seals or dies at whatever moment, the chain is whole and has no gap (S197, S198)."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from agent_factory.database import audit as store
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.monitoring.metrics import Metrics
from agent_factory.security import audit
from agent_factory.security.audit import Event, Finding, Outcome, Progress, Trail
from tests.security import sealing
from tests.security.sealing import trail_of

_EVERYTHING = 10_000


@pytest.fixture
async def fresh(fresh_database_url: str) -> AsyncGenerator[Database]:
    """A database of its own, for its chain is a whole."""
    database = Database(fresh_database_url)
    yield database
    await database.close()


async def written(database: Database, count: int, organization_id: UUID | None = None) -> None:
    for number in range(count):
        event = Event(action="agents_update", organization_id=organization_id, resource=f"agt_{number}")
        await audit.record_alone(database.pool, event)


async def verified(trail: Trail) -> tuple[list[Finding], Progress]:
    progress = Progress()
    return [f async for f in trail.verify(progress=progress)], progress


async def test_many_writers_and_sealers_make_one_chain_without_gaps(fresh: Database, tmp_path: Path) -> None:
    trail = trail_of(fresh, tmp_path, checkpoint_rows=40)
    sealers = [trail.sealer(), trail.sealer()]
    organizations = [uuid7() for _ in range(8)]
    writing = asyncio.gather(*(written(fresh, 25, organization) for organization in organizations))
    while not writing.done():
        await asyncio.gather(*(sealer.seal() for sealer in sealers))
    await writing
    await asyncio.gather(*(sealer.finish() for sealer in sealers))
    findings, progress = await verified(trail)
    assert findings == []
    assert (progress.events, progress.signed, progress.pending) == (200, 200, 0)
    seals = [row.seal for row in await store.sealed(fresh.pool, 1, _EVERYTHING)]
    assert [seal.sequence for seal in seals] == list(range(1, 201))
    for organization in organizations:
        assert [s.position for s in seals if s.organization_id == organization] == list(range(1, 26))


async def test_a_sealer_that_is_killed_at_any_moment_leaves_a_whole_chain(
    fresh: Database, fresh_database_url: str, tmp_path: Path
) -> None:
    """Two processes seal and sign; now one, now the other is killed in the middle of it."""
    trail = trail_of(fresh, tmp_path)
    await trail.keys.signer(fresh.pool)
    writing = asyncio.gather(*(written(fresh, 100, uuid7()) for _ in range(6)))
    async with _sealing(fresh_database_url, tmp_path):
        for _ in range(4):
            async with _sealing(fresh_database_url, tmp_path):
                sealed = await _sequence(fresh)
                await written(fresh, 1)
                while await _sequence(fresh) <= sealed:  # noqa: ASYNC110 - nothing tells when it is sealed
                    await asyncio.sleep(0)
    await writing
    await trail.sealer().finish()
    findings, progress = await verified(trail)
    assert findings == []
    assert (progress.events, progress.signed, progress.pending) == (604, 604, 0)


async def test_an_event_is_sealed_within_a_second_and_the_end_is_signed_when_a_process_stops(
    fresh: Database, tmp_path: Path
) -> None:
    """By the notice that its commit gives: there is nothing to be asked for meanwhile."""
    trail = trail_of(fresh, tmp_path, poll=60)
    sealer = trail.sealer()
    running = asyncio.create_task(sealer.run_forever())
    try:
        await written(fresh, 1)
        async with asyncio.timeout(20):
            while await _sequence(fresh) < 1:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await written(fresh, 1)
    await sealer.finish()
    findings, progress = await verified(trail)
    assert (findings, progress.signed) == ([], 2)


async def test_an_event_of_a_transaction_that_ends_late_is_sealed_late(fresh: Database, tmp_path: Path) -> None:
    trail = trail_of(fresh, tmp_path)
    sealer = trail.sealer()
    async with fresh.system() as session:
        await audit.record(session, Event(action="slow"))
        await written(fresh, 2)
        assert await sealer.seal() == 2
    assert await sealer.seal() == 1
    rows = await store.sealed(fresh.pool, 1, _EVERYTHING)
    assert [row.event and row.event.action for row in rows] == ["agents_update", "agents_update", "slow"]
    assert (await verified(trail))[0] == []


async def test_what_was_signed_while_the_witness_was_away_is_copied_later(fresh: Database, tmp_path: Path) -> None:
    trail = trail_of(fresh, tmp_path, checkpoint_rows=2)
    (tmp_path / "copies").write_text("a file where the folder should be")
    await written(fresh, 4)
    await trail.sealer().finish()
    (tmp_path / "copies").unlink()
    await written(fresh, 1)
    await trail.sealer().finish()
    assert sorted(path.name for path in (tmp_path / "copies" / "checkpoints").iterdir()) == [
        f"{number:019}.json" for number in (1, 2, 3)
    ]


async def test_a_process_notices_that_the_end_which_it_has_seen_is_gone(
    fresh: Database, fresh_database_url: str, tmp_path: Path
) -> None:
    trail = trail_of(fresh, tmp_path)
    metrics = Metrics()
    sealer = trail.sealer(metrics)
    await written(fresh, 2)
    await sealer.seal()
    owner = await asyncpg.connect(fresh_database_url)
    try:
        await owner.execute("ALTER TABLE audit_seals NO FORCE ROW LEVEL SECURITY")
        await owner.execute("ALTER TABLE audit_seals DISABLE TRIGGER USER")
        await owner.execute("DELETE FROM audit_seals WHERE sequence = 2")
    finally:
        await owner.close()
    await written(fresh, 1)
    await sealer.seal()
    await sealer.seal()
    alerts = await _alerts(fresh)
    assert [(a.details["rule"], a.outcome) for a in alerts] == [("audit_chain_changed", "observed")]
    assert 'security_alerts_total{rule="audit_chain_changed"} 1.0' in metrics.exposition()[0].decode()


async def test_stolen_passwords_that_are_tried_raise_one_alert_whichever_process_sealed_what(
    fresh: Database, tmp_path: Path
) -> None:
    """S203: many accounts from one address; it is told once within the cool-down."""
    trail = trail_of(fresh, tmp_path, watch={"accounts_by_address": 6})
    sealers = [trail.sealer(), trail.sealer()]
    for number in range(12):
        await _fail_to_log_in(fresh, "203.0.113.5", f"account-{number}")
        await sealers[number % 2].seal()
    for sealer in sealers:
        await sealer.seal()
    assert [a.details for a in await _alerts(fresh)] == [
        {"rule": "many_accounts_from_one_address", "subject": "203.0.113.5", "count": 6}
    ]


async def _fail_to_log_in(database: Database, address: str, account: str) -> None:
    with audit.during({"state": {"address": address}, "headers": []}):
        event = Event(action="auth.login_failed", outcome=Outcome.FAILED, details={"account": account})
        await audit.record_alone(database.pool, event)


async def _alerts(database: Database) -> list[store.Event]:
    rows = await store.sealed(database.pool, 1, _EVERYTHING)
    return [row.event for row in rows if row.event is not None and row.event.action == "security.alert"]


async def _sequence(database: Database) -> int:
    return (await store.state(database.pool)).head


@asynccontextmanager
async def _sealing(url: str, folder: Path) -> AsyncGenerator[None]:
    """Run a process that seals, and kill it."""
    command = [sys.executable, str(sealing.__file__), url, str(folder)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(sealing.ROOT)}  # noqa: TID251 - a child needs its interpreter
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    assert child.stdout is not None
    try:
        assert await asyncio.wait_for(child.stdout.readline(), 60) == b"sealing\n"
        yield
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()


async def test_without_the_encryption_key_events_are_sealed_all_the_same_and_signed_once_it_is_back(
    fresh: Database, tmp_path: Path
) -> None:
    await trail_of(fresh, tmp_path).keys.signer(fresh.pool)
    kept = (tmp_path / "encryption.key").rename(tmp_path / "put-away")
    trail = trail_of(fresh, tmp_path, checkpoint_seconds=0.01, poll=0.05)
    running = asyncio.create_task(trail.sealer().run_forever())
    try:
        async with asyncio.timeout(20):
            for count in (1, 2):
                await written(fresh, 1)
                while await _sequence(fresh) < count:  # noqa: ASYNC110 - nothing tells when it is sealed
                    await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert (await store.state(fresh.pool)).signed == 0
    kept.rename(tmp_path / "encryption.key")
    await trail_of(fresh, tmp_path).sealer().finish()
    assert (await verified(trail_of(fresh, tmp_path)))[0] == []
    assert (await store.state(fresh.pool)).signed == 2
