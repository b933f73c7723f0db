"""Verifying who calls, and believing it for a few seconds."""

import asyncio
import time
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from agent_factory.database.models import ApiKeyRow
from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem
from agent_factory.security.auth import Actor
from agent_factory.services.auth.errors import BadKey
from agent_factory.services.auth.queries import keys, rights
from agent_factory.services.auth.rules.keys import key_hash, key_prefix, same

VERIFIED_SECONDS = 5.0
"""How long a verified key is believed without another look; a revoked one is refused within this time."""
TOUCH_EVERY = timedelta(minutes=1)
_MOST_VERIFIED = 10_000

_log = structlog.stdlib.get_logger("agent_factory.auth")


class _Verified(msgspec.Struct):
    actor: Actor
    until: float


class Keyring:
    """Verifies API keys, and remembers for 5 seconds which are good."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._verified: dict[bytes, _Verified] = {}
        self._looking: dict[bytes, asyncio.Task[Actor]] = {}
        self._touched: dict[UUID, float] = {}
        self._touching: set[asyncio.Task[None]] = set()

    async def verify(self, secret: str) -> Actor:
        """Give the caller that a key stands for; raises `BadKey`, or `Unavailable` while PostgreSQL is away."""
        prefix = key_prefix(secret)
        if prefix is None:
            raise BadKey("This is no API key of ours; they look like af_….")
        digest = key_hash(secret)
        known = self._verified.get(digest)
        if known is not None and known.until > time.monotonic():
            return known.actor
        looking = self._looking.get(digest)
        if looking is None:
            looking = self._looking[digest] = asyncio.create_task(self._look(prefix, digest))
            looking.add_done_callback(lambda done: self._looked(digest, done))
        return await asyncio.shield(looking)

    async def close(self) -> None:
        """Wait for what is being noted."""
        await asyncio.gather(*self._touching, *self._looking.values(), return_exceptions=True)

    def _looked(self, digest: bytes, done: asyncio.Task[Actor]) -> None:
        del self._looking[digest]
        if not done.cancelled():
            done.exception()  # whoever asked may have left by now, and nobody else will look at it

    async def _look(self, prefix: str, digest: bytes) -> Actor:
        asked = time.monotonic()
        async with self._database.system() as session:
            found = await keys.key_by_prefix(session, prefix)
            if found is None or not same(found[0].hash, digest) or not _valid(found[0], now()):
                self._verified.pop(digest, None)
                raise BadKey("The key is unknown, revoked or expired; use another.")
            key, user = found
            standing = await rights.standing_of(session, user)
        actor = Actor(
            organization_id=key.organization_id,
            user_id=user.id,
            role=user.role,
            key_id=key.id,
            rights=standing.rights,
            scopes=frozenset(key.scopes),
            grants=standing.grants,
            organization_status=standing.organization,
        )
        if len(self._verified) >= _MOST_VERIFIED:
            self._verified.clear()
        self._verified[digest] = _Verified(actor, asked + VERIFIED_SECONDS)
        self._note(key.id)
        return actor

    def _note(self, key_id: UUID) -> None:
        moment = time.monotonic()
        if moment - self._touched.get(key_id, float("-inf")) < TOUCH_EVERY.total_seconds():
            return
        if len(self._touched) >= _MOST_VERIFIED:
            self._touched.clear()
        self._touched[key_id] = moment
        task = asyncio.create_task(self._touch(key_id))
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)

    async def _touch(self, key_id: UUID) -> None:
        try:
            async with self._database.system() as session:
                await keys.touch_key(session, key_id, TOUCH_EVERY)
        except Problem as problem:
            _log.warning("a key's last use could not be noted", code=problem.code)


def _valid(key: ApiKeyRow, moment: datetime) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > moment)
