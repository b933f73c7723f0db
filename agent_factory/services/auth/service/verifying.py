"""Verifying who calls, and believing it for a few seconds."""

import asyncio
import hashlib
import math
import time
from datetime import timedelta
from uuid import UUID

import msgspec
import structlog

from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem
from agent_factory.kit.mailbox import same_for_all
from agent_factory.security.auth import Actor
from agent_factory.security.tokens import BadToken, Issuer, Issuers, Tokens
from agent_factory.security.tokens.settings import KNOWN_SHARE
from agent_factory.services.auth.errors import BadKey
from agent_factory.services.auth.queries import keys, logins, rights
from agent_factory.services.auth.rules.keys import PREFIX, key_prefix, same

TOUCH_EVERY = timedelta(minutes=1)
_MOST_VERIFIED = 10_000

_log = structlog.stdlib.get_logger("agent_factory.auth")


class _Verified(msgspec.Struct, frozen=True):
    """A caller, and until when of the monotonic clock nobody looks again."""

    actor: Actor
    until: float


class Credentials:
    """Verifies API keys and access tokens, and remembers for a few seconds which are good.

    Whatever was verified is looked up again after the belief period of the
    settings: key, session, person, account and rights, so that whatever ends
    one of them reaches every process within that time.
    """

    def __init__(self, database: Database, tokens: Tokens, issuers: Issuers | None = None) -> None:
        """Begin without knowing anybody; `issuers` are those whose tokens count beside our own."""
        self.database = database
        self.tokens = tokens
        self._issuers = issuers
        self._verified: dict[bytes, _Verified] = {}
        self._looking: dict[bytes, asyncio.Task[_Verified]] = {}
        self._touched: dict[UUID, float] = {}
        self._touching: set[asyncio.Task[None]] = set()

    async def verify(self, secret: str, *, anew: bool = False) -> Actor:
        """Give the caller that a key or token stands for; with `anew`, as things stand at this very moment.

        Raises `BadKey`, `BadToken`, or `Unavailable` while PostgreSQL is away.
        """
        digest = hashlib.sha256(secret.encode()).digest()
        if anew:
            self._verified.pop(digest, None)
            return (await self._look(secret, digest)).actor
        known = self._verified.get(digest)
        if known is not None and known.until > time.monotonic():
            return known.actor
        looking = self._looking.get(digest)
        if looking is None:
            looking = self._looking[digest] = asyncio.create_task(self._look(secret, digest))
            looking.add_done_callback(lambda done: self._looked(digest, done))
        return (await asyncio.shield(looking)).actor

    async def still_good(self, actor: Actor) -> bool:
        """Tell whether a caller whose request goes on for long would still be let in; raises `Unavailable`."""
        async with self.database.system() as session:
            return await logins.still_good(session, actor)

    def forget(
        self, *, key_id: UUID | None = None, session_id: UUID | None = None, user_id: UUID | None = None
    ) -> None:
        """Believe nothing any more of what this process has verified of a key, a session or a user."""
        gone = [
            digest
            for digest, known in self._verified.items()
            if (key_id is not None and known.actor.key_id == key_id)
            or (session_id is not None and known.actor.session_id == session_id)
            or (user_id is not None and known.actor.user_id == user_id)
        ]
        for digest in gone:
            del self._verified[digest]

    async def close(self) -> None:
        """Wait for what is being noted."""
        await asyncio.gather(*self._touching, *self._looking.values(), return_exceptions=True)

    def _looked(self, digest: bytes, done: asyncio.Task[_Verified]) -> None:
        del self._looking[digest]
        self._verified.pop(digest, None)
        if done.cancelled() or done.exception() is not None:
            return  # whoever asked may have left by now, and nobody else will look at it
        while len(self._verified) >= _MOST_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = done.result()

    async def _look(self, secret: str, digest: bytes) -> _Verified:
        if secret.startswith(PREFIX):
            return await self._look_at_key(secret, digest)
        issuer = self._issuers.of(secret) if self._issuers else None
        return await (self._look_at_token(secret) if issuer is None else self._ask(issuer, secret))

    async def _look_at_key(self, secret: str, digest: bytes) -> _Verified:
        asked = time.monotonic()
        prefix = key_prefix(secret)
        if prefix is None:
            raise BadKey("This is no API key of ours; they look like af_….")
        async with self.database.system() as session:
            found = await keys.key_in_use(session, prefix)
            if found is None or not same(found[0].hash, digest):
                raise BadKey("The key is unknown, revoked or expired; use another.")
            key, user = found
            standing = await rights.standing_of(session, user)
        scopes = frozenset(key.scopes)
        actor = Actor(
            organization_id=key.organization_id,
            user_id=user.id,
            role=user.role,
            key_id=key.id,
            # a service has the rights that its key was given, whatever becomes of the giver
            rights=scopes if user.kind == "service" else standing.rights,
            scopes=scopes,
            grants=standing.grants,
            organization_status=standing.organization,
        )
        self._note(key.id)
        lasts = math.inf if key.expires_at is None else (key.expires_at - now()).total_seconds()
        return _Verified(actor, asked + min(self.tokens.settings.believed_seconds, lasts))

    async def _look_at_token(self, secret: str) -> _Verified:
        asked = time.monotonic()
        claims = await self.tokens.verify(secret)
        subject = claims.subject()
        async with self.database.system() as session:
            user = await logins.person_of(session, subject)
            if user is None:
                raise BadToken("The session of this token has ended; log in again.")
            standing = await rights.standing_of(session, user)
        actor = Actor(
            organization_id=user.organization_id,
            user_id=user.id,
            role=user.role,
            session_id=subject.session_id,
            rights=standing.rights,
            grants=standing.grants,
            organization_status=standing.organization,
        )
        # what is known of the signing keys may be this old already
        believed = self.tokens.settings.believed_seconds * (1 - KNOWN_SHARE)
        return _Verified(actor, asked + min(believed, claims.exp - time.time()))

    async def _ask(self, issuer: Issuer, secret: str) -> _Verified:
        """Look at a token of somebody else: it stands for who has the address that it vouches for, and makes nobody."""
        asked = time.monotonic()
        vouched = await issuer.verify(secret)
        async with self.database.system() as session:
            user = await logins.member(session, issuer.organization_id, same_for_all(vouched.email))
            if user is None:
                raise BadToken("No active member of the organisation has the address of this token.")
            standing = await rights.standing_of(session, user)
        actor = Actor(
            organization_id=user.organization_id,
            user_id=user.id,
            role=user.role,
            rights=standing.rights,
            scopes=vouched.scopes,
            grants=standing.grants,
            organization_status=standing.organization,
            issuer=issuer.name,
        )
        return _Verified(actor, asked + min(self.tokens.settings.believed_seconds, vouched.expires - time.time()))

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
            async with self.database.system() as session:
                await keys.touch_key(session, key_id, TOUCH_EVERY)
        except Problem as problem:
            _log.warning("a key's last use could not be noted", code=problem.code)
