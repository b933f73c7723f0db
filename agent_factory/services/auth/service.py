"""Users and API keys: making, listing, revoking and verifying."""

import asyncio
import time
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from agent_factory.database.models import ApiKeyRow, UserRow
from agent_factory.database.session import Database, ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.errors import FieldError, Invalid, Problem
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page, page
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import ROLES
from agent_factory.services.auth import queries
from agent_factory.services.auth.errors import BadKey, KeyNotFound, UserNotFound
from agent_factory.services.auth.rules import key_hash, key_prefix, make_key, same

VERIFIED_SECONDS = 5.0
"""How long a verified key is believed without another look; a revoked one is refused within this time."""
TOUCH_EVERY = timedelta(minutes=1)
_MOST_VERIFIED = 10_000

_log = structlog.stdlib.get_logger("agent_factory.auth")


class IssuedKey(msgspec.Struct, frozen=True):
    """A new key and its secret, which is known only now."""

    row: ApiKeyRow
    secret: str


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
            found = await queries.key_by_prefix(session, prefix)
        if found is None or not same(found[0].hash, digest) or not _valid(found[0], now()):
            self._verified.pop(digest, None)
            raise BadKey("The key is unknown, revoked or expired; use another.")
        key, user = found
        actor = Actor(
            organization_id=key.organization_id,
            user_id=user.id,
            role=user.role,
            key_id=key.id,
            rights=ROLES.get(user.role, frozenset()),
            scopes=frozenset(key.scopes),
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
                await queries.touch_key(session, key_id, TOUCH_EVERY)
        except Problem as problem:
            _log.warning("a key's last use could not be noted", code=problem.code)


def _valid(key: ApiKeyRow, moment: datetime) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > moment)


async def add_user(session: Session, organization_id: UUID, *, email: str, name: str, role: str) -> UserRow:
    """Make a user of an organisation."""
    row = UserRow(id=uuid7(), organization_id=organization_id, email=email, name=name, role=role)
    await queries.add(session, row)
    return row


async def issue_key(session: Session, user: UserRow, *, name: str) -> IssuedKey:
    """Make a user's key, outside any request."""
    return await _issue(session, user.organization_id, user.id, name=name, expires_at=None, scopes=["*"])


async def create_key(session: Session, actor: Actor, *, name: str, expires_at: datetime | None) -> IssuedKey:
    """Make a key for the caller, which can do no more than the one that asks."""
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now()):
        raise Invalid(
            "The key would never work.",
            errors=[FieldError("/expires_at", "has to be in the future, with its offset from UTC")],
        )
    return await _issue(
        session, actor.organization_id, actor.user_id, name=name, expires_at=expires_at, scopes=sorted(actor.scopes)
    )


async def _issue(
    session: Session, organization_id: UUID, user_id: UUID, *, name: str, expires_at: datetime | None, scopes: list[str]
) -> IssuedKey:
    made = make_key()
    row = ApiKeyRow(
        id=uuid7(),
        organization_id=organization_id,
        user_id=user_id,
        name=name,
        prefix=made.prefix,
        hash=made.hash,
        scopes=scopes,
        expires_at=expires_at,
        created_at=now(),
    )
    await queries.add(session, row)
    return IssuedKey(row, made.secret)


async def get_key(session: ReadSession, actor: Actor, key_id: UUID) -> ApiKeyRow:
    """Find a key; raises `KeyNotFound`."""
    row = await queries.key(session, actor, key_id)
    if row is None:
        raise KeyNotFound("There is no such key in your organisation.")
    return row


async def list_keys(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[ApiKeyRow]:
    """List the organisation's keys, newest first."""
    rows = await queries.keys(session, actor, limit + 1, after)
    return page(rows, limit, rows[limit - 1].id if len(rows) > limit else None)


async def revoke_key(session: Session, actor: Actor, key_id: UUID) -> None:
    """Revoke a key; it is refused everywhere within 5 seconds. Doing it twice changes nothing."""
    row = await get_key(session, actor, key_id)
    if row.revoked_at is None:
        row.revoked_at = now()


async def get_user(session: ReadSession, actor: Actor, user_id: UUID) -> UserRow:
    """Find a user; raises `UserNotFound`."""
    row = await queries.user(session, actor, user_id)
    if row is None:
        raise UserNotFound("There is no such user in your organisation.")
    return row


async def list_users(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[UserRow]:
    """List the organisation's users, newest first."""
    rows = await queries.users(session, actor, limit + 1, after)
    return page(rows, limit, rows[limit - 1].id if len(rows) > limit else None)
