"""Chains events and signs the chain, in the background of every process, by one of them at a time (S197, S198)."""

import asyncio
import time
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import structlog

from agent_factory.database import audit as store
from agent_factory.database.driver import Connection
from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem, Unavailable
from agent_factory.monitoring.metrics import Metrics
from agent_factory.security.audit import chain, checkpoints
from agent_factory.security.audit.checkpoints import Checkpoint
from agent_factory.security.audit.event import Event, Outcome, record_alone
from agent_factory.security.audit.keys import Keys
from agent_factory.security.audit.settings import AuditSettings
from agent_factory.security.audit.watching import ALERT, Alert, Watch
from agent_factory.security.audit.witness import Witness

log = structlog.stdlib.get_logger(__name__)

KEY_ROTATED = "audit.key_rotated"
_CHANNEL = "audit"
_BATCH = 200
"""Events that are sealed in one transaction; hashing them takes some milliseconds."""
_GATHER_SECONDS = 0.05
"""How long more events are waited for after the first, so that one transaction seals them all."""
_MOST_WATCHED = 10_000
_LAST_SECONDS = 10.0
_AGAIN_SECONDS = 2.0
_SIGN_AGAIN_SECONDS = 30.0


class _Batch(msgspec.Struct):
    """What was sealed at once, and the alerts that it raised."""

    seals: list[store.Seal] = []
    alerts: list[Alert] = []


class Sealer:
    """Seals, signs and watches; `run_forever` has to run in every process.

    A batch is one transaction under a lock that is PostgreSQL's, so whoever
    dies leaves no gap and nothing half done, and another goes on.
    """

    def __init__(
        self,
        database: Database,
        keys: Keys,
        settings: AuditSettings,
        folder: Path,
        metrics: Metrics | None = None,
    ) -> None:
        """Keep copies of checkpoints where the settings say, else in `folder`; nothing is opened yet."""
        self._database = database
        self._pool = database.pool
        self._keys = keys
        self._settings = settings
        self._folder = folder
        self._metrics = metrics
        self._watch = Watch(settings.watch)
        self._watched = 0
        self._known: store.Place | None = None
        self._witness: Witness | None = None
        self._kept = 0
        self._unsigned_until = 0.0
        self._copying: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()

    async def run_forever(self) -> None:
        """Seal what comes within a fraction of a second, and sign when it is time, until cancelled."""
        await self._database.listen(_CHANNEL, self._wake)
        try:
            while True:
                try:
                    await self._look()
                except Unavailable:
                    await asyncio.sleep(_AGAIN_SECONDS)
                except Exception:
                    log.exception("the sealer of the audit trail stumbled; it tries again")
                    await asyncio.sleep(_AGAIN_SECONDS)
                await self._pause()
        finally:
            await self._database.unlisten(_CHANNEL, self._wake)

    async def finish(self) -> None:
        """Seal, sign and copy what there is, within seconds; what cannot be done now, the next process does."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                while await self.seal():
                    pass
                while await self.sign(at_once=True):
                    pass
                if self._copying is not None:
                    await self._copying
        except TimeoutError:
            log.warning("the audit trail could not be signed in time; the next process does it")
        except Problem as problem:
            log.warning("the audit trail could not be signed at the end", reason=problem.detail)

    def _wake(self, _payload: str) -> None:
        self._woken.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._settings.poll):
                await self._woken.wait()
            await asyncio.sleep(_GATHER_SECONDS)
        except TimeoutError:
            pass
        self._woken.clear()

    async def _look(self) -> None:
        state = await store.state(self._pool)
        while state.pending and await self.seal() == _BATCH:
            pass
        if time.monotonic() < self._unsigned_until:
            return
        try:
            while self._is_due(state) and await self.sign():
                state = await store.state(self._pool)
        except Unavailable:
            raise
        except Problem as problem:  # such as a key that is missing: what comes is sealed meanwhile
            log.warning("the audit trail cannot be signed", reason=problem.detail, code=problem.code)
            self._unsigned_until = time.monotonic() + _SIGN_AGAIN_SECONDS

    def _is_due(self, state: store.State) -> bool:
        return self._is_time(state.head - state.signed, state.unsigned_since)

    def _is_time(self, count: int, since: datetime | None) -> bool:
        if count >= self._settings.checkpoint_rows:
            return True
        return since is not None and now() - since >= timedelta(seconds=self._settings.checkpoint_seconds)

    async def seal(self) -> int:
        """Seal one batch and tell how many events it had: none where there are none, or another process seals."""
        async with self._pool.transaction() as connection:
            batch = await self._seal(connection) if await store.lock(connection) else _Batch()
        return self._done(batch)

    async def _seal(self, connection: Connection) -> "_Batch":
        events = await store.pending(connection, _BATCH)
        if not events:
            return _Batch()
        await self._check_end(connection)
        batch = _Batch(await _chained(connection, events))
        await store.seal(connection, batch.seals)
        if any(event.action in self._watch.actions for event in events):
            batch.alerts = await self._look_around(connection)
        return batch

    def _done(self, batch: "_Batch") -> int:
        """Remember and tell what was sealed, once it is committed; give how many events that were."""
        if batch.seals:
            self._known = store.Place(batch.seals[-1].sequence, batch.seals[-1].hash)
        for alert in batch.alerts:
            self._tell(alert)
        return len(batch.seals)

    async def _check_end(self, connection: Connection) -> None:
        """Notice that the chain no longer holds what this process saw in it."""
        known = self._known
        if known is None or await store.hash_at(connection, known.number) == known.hash:
            return
        self._known = None
        alert = Alert("audit_chain_changed", f"sequence {known.number}", 1, None)
        await self._raise(connection, alert)
        self._tell(alert)

    async def _look_around(self, connection: Connection) -> list[Alert]:
        """Let the watch see every event of its kinds since it last looked, whichever process sealed them."""
        since = now() - self._watch.memory
        seen = await store.watched(connection, self._watch.actions, since, self._watched, _MOST_WATCHED)
        alerts = self._watch.see(event for _, event in seen)
        for alert in alerts:
            await self._raise(connection, alert)
        self._watched = seen[-1][0] if seen else self._watched
        return alerts

    async def _raise(self, connection: Connection, alert: Alert) -> None:
        details = {"rule": alert.rule, "subject": alert.subject, "count": alert.count}
        event = Event(action=ALERT, organization_id=alert.organization_id, outcome=Outcome.OBSERVED, details=details)
        await record_alone(connection, event)

    def _tell(self, alert: Alert) -> None:
        organization = alert.organization_id and str(alert.organization_id)
        log.warning(
            "security alert", rule=alert.rule, subject=alert.subject, count=alert.count, organization_id=organization
        )
        if self._metrics is not None:
            self._metrics.alert(alert.rule)

    async def sign(self, *, at_once: bool = False) -> Checkpoint | None:
        """Sign the seals that no checkpoint covers, as many as one takes; None where there are none or it is not time.

        Raises `Unavailable`, or `KeyMissing` without the vault's key.
        """
        async with self._pool.transaction() as connection:
            made = await self._sign(connection, at_once=at_once) if await store.lock(connection) else None
        if made is not None:
            self._copy_soon()
        return made

    async def _sign(self, connection: Connection, *, at_once: bool) -> Checkpoint | None:
        row = await store.newest_signature(connection)
        before = Checkpoint.of(row) if row else None
        first = before.last + 1 if before else 1
        seals = await store.seals(connection, first, first + self._settings.checkpoint_rows - 1)
        if not seals or not (at_once or self._is_time(len(seals), seals[0].sealed_at)):
            return None
        signer = await self._keys.signer(connection)
        made = checkpoints.sign(
            signer.id,
            signer.key,
            before=before,
            last=seals[-1].sequence,
            head=seals[-1].hash,
            leaves=b"".join(chain.Leaf(s.event_id, s.organization_id, s.digest, s.own_hash).encoded() for s in seals),
            signed_at=now(),
        )
        await store.sign(connection, made)
        return made

    async def rotate(self) -> UUID:
        """Let a new key sign from here on, and give its id; what the old one has signed stays good.

        The event that names the new key is the last that the old one signs, so
        that whoever trusts the old can trust the new. All of it is one
        transaction. Raises what `sign` raises.
        """
        made, batches = await self._keys.made(), list[_Batch]()
        async with self._pool.transaction() as connection:
            await store.lock_in_turn(connection)
            before = await self._keys.signer(connection)
            details = {"next": str(made.id), "public": made.public_key.hex(), "replaced": str(before.id)}
            await record_alone(connection, Event(action=KEY_ROTATED, details=details))
            while not batches or len(batches[-1].seals) == _BATCH:  # one that is not full has all that came before
                batches.append(await self._seal(connection))
            while await self._sign(connection, at_once=True):
                pass
            await store.add_next_key(connection, made)
        for batch in batches:
            self._done(batch)
        self._copy_soon()
        return made.id

    def _copy_soon(self) -> None:
        if self._copying is None or self._copying.done():
            self._copying = asyncio.create_task(self._copy(), name="audit witness")

    async def _copy(self) -> None:
        """Bring the witness up to what is signed; what fails now is made up for next time."""
        try:
            if self._witness is None:
                self._witness = await asyncio.to_thread(Witness, self._settings.witness, self._folder)
                self._kept = max(await self._witness.numbers(), default=0)
            trusted = await self._keys.trusted()
            while rows := await store.signatures(self._pool, self._kept, 10):
                for checkpoint in map(Checkpoint.of, rows):
                    if checkpoint.holds(trusted.get(checkpoint.key_id)):
                        await self._witness.keep(checkpoint)
                    self._kept = checkpoint.number
        except Problem as problem:
            log.warning("no copy of a checkpoint could be kept", reason=problem.detail)


async def _chained(connection: Connection, events: list[store.Event]) -> list[store.Seal]:
    """Give the seals of events, which go on where the chain ends."""
    end = await store.head(connection) or store.Place(0, chain.START)
    ends = await store.own_heads(connection, {e.organization_id for e in events if e.organization_id is not None})
    seals: list[store.Seal] = []
    for event in events:
        own = ends.get(event.organization_id) or store.Place(0, chain.START)
        made = _sealed(event, end, own)
        end = store.Place(made.sequence, made.hash)
        ends[event.organization_id] = store.Place(made.position, made.own_hash)
        seals.append(made)
    return seals


def _sealed(event: store.Event, end: store.Place, own: store.Place) -> store.Seal:
    seal = store.Seal(
        sequence=end.number + 1,
        event_id=event.id,
        organization_id=event.organization_id,
        position=own.number + 1,
        digest=chain.digest(event),
        previous=end.hash,
        hash=b"",
        own_previous=own.hash,
        own_hash=b"",
        sealed_at=now(),
    )
    return msgspec.structs.replace(seal, hash=chain.seal_hash(seal), own_hash=chain.own_hash(seal))
