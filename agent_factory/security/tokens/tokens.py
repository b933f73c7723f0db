"""The keys of one installation: which signs, which still verify, and when another takes over."""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from joserfc.jwk import ECKey

from agent_factory.database import signing_keys
from agent_factory.database.pool import Pool
from agent_factory.database.signing_keys import SigningKey
from agent_factory.kit.clock import now
from agent_factory.security.encryption import Place, Vault
from agent_factory.security.tokens.settings import KNOWN_SHARE, AuthSettings
from agent_factory.security.tokens.signed import SKEW_SECONDS, Claims, Rules, Subject, invalid, named_key, read, sign

_LATE_SIGNATURES = timedelta(seconds=60)
"""How long after its successor a key may still have signed, in a process whose clock or look is late."""
_CURVE = "P-256"
_PUBLIC = ("kty", "crv", "x", "y")


class _Known(msgspec.Struct, frozen=True):
    """The keys as they were at a moment of the monotonic clock, oldest first."""

    keys: tuple[SigningKey, ...]
    verifiers: Mapping[str, ECKey]
    at: float


class Tokens:
    """Issues and verifies access tokens; private keys are sealed in the database.

    Every process loads the keys again when it needs them and has last looked
    more than a fifth of the belief period ago, whatever a token says, so
    that unknown keys cost no more looks than known ones.
    """

    def __init__(self, pool: Pool, vault: Vault, settings: AuthSettings) -> None:
        """Load nothing yet."""
        self._pool = pool
        self._vault = vault
        self.settings = settings
        self._rules = Rules(settings.issuer, settings.audience, settings.access_seconds)
        self._known = _Known((), {}, float("-inf"))
        self._loading: asyncio.Task[_Known] | None = None
        self._private: tuple[str, ECKey] | None = None

    async def issue(self, subject: Subject) -> str:
        """Sign a token; the first one of an installation makes its first key, one of an old key the next key."""
        signer = await self._signer()
        return sign(subject, signer.kid, await self._opened(signer), self._rules, int(time.time()))

    async def verify(self, token: str) -> Claims:
        """Read a token; anything wrong with it is `BadToken`, and `Unavailable` while PostgreSQL is away."""
        kid = named_key(token)
        known = await self._fresh()
        key = known.verifiers.get(kid)
        if key is None or not self._alive(known, kid, now()):
            raise invalid()
        return read(token, key, self._rules, int(time.time()))

    async def published(self) -> dict[str, Any]:
        """Give the public keys as a JWK set (RFC 7517): those in use, and the next one."""
        known = await self._fresh()
        moment = now()
        alive = [key for key in known.keys if self._alive(known, key.kid, moment)]
        return {"keys": [{**key.public, "kid": key.kid, "use": "sig", "alg": "ES256"} for key in alive]}

    async def rotate(self, *, distrust: bool = False) -> str:
        """Make the next key and give its id.

        It signs after `publish_seconds`, and older keys verify until their last
        token is dead. With `distrust` it signs at once and every older key is
        gone: all access tokens are refused within the belief period, and
        people get new ones by refreshing.
        """
        known = await self._load()
        number = known.keys[-1].number + 1 if known.keys else 1
        at_once = distrust or not known.keys
        signs_from = now() if at_once else now() + timedelta(seconds=self.settings.publish_seconds)
        made = await self._made(number, signs_from)
        added = await signing_keys.add(self._pool, made)
        if not added and distrust:
            return await self.rotate(distrust=True)
        if distrust:
            await signing_keys.forget_before(self._pool, number)
        else:
            await self._tidy(known)
        return (await self._load()).keys[-1].kid

    async def _signer(self) -> SigningKey:
        known = await self._fresh()
        due = now() - timedelta(days=self.settings.signing_key_days)
        if not known.keys or known.keys[-1].created_at < due:
            await self.rotate()
            known = self._known
        return _signing(known)

    async def _opened(self, signer: SigningKey) -> ECKey:
        if self._private is None or self._private[0] != signer.kid:
            assert signer.private is not None, "it was chosen among those that can sign"
            text = await self._vault.decrypt(None, _place(signer.kid), signer.private)
            self._private = (signer.kid, ECKey.import_key(msgspec.json.decode(text)))
        return self._private[1]

    async def _made(self, number: int, signs_from: datetime) -> SigningKey:
        key = ECKey.generate_key(_CURVE)
        kid = key.thumbprint()
        whole = key.as_dict(private=True)
        public = {name: str(whole[name]) for name in _PUBLIC}
        private = await self._vault.encrypt(None, _place(kid), msgspec.json.encode({**public, "d": whole["d"]}))
        return SigningKey(number, kid, public, private, now(), signs_from)

    async def _tidy(self, known: _Known) -> None:
        if not known.keys:
            return
        moment = now()
        signing = _signing(known).number
        dead = [key.number for key in known.keys if not self._alive(known, key.kid, moment)]
        await signing_keys.tidy(self._pool, dead, [key.number for key in known.keys if key.number < signing])

    def _alive(self, known: _Known, kid: str, moment: datetime) -> bool:
        """Tell whether a token that this key signed may still be in use."""
        number = next(index for index, key in enumerate(known.keys) if key.kid == kid)
        if number == len(known.keys) - 1:
            return True
        last = known.keys[number + 1].signs_from + _LATE_SIGNATURES
        return moment < last + timedelta(seconds=self.settings.access_seconds + SKEW_SECONDS)

    async def _fresh(self) -> _Known:
        if time.monotonic() - self._known.at < self.settings.believed_seconds * KNOWN_SHARE:
            return self._known
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
            self._loading.add_done_callback(self._loaded)
        return await asyncio.shield(self._loading)

    def _loaded(self, done: asyncio.Task[_Known]) -> None:
        self._loading = None
        if not done.cancelled():
            done.exception()  # whoever asked may have left by now, and nobody else will look at it

    async def _load(self) -> _Known:
        asked = time.monotonic()
        keys = tuple(await signing_keys.every(self._pool))
        before = self._known.verifiers
        verifiers = {key.kid: before.get(key.kid) or _verifier(key) for key in keys}
        self._known = _Known(keys, verifiers, asked)
        return self._known


def _signing(known: _Known) -> SigningKey:
    """Give the newest key whose time has come; for a clock that is late, the oldest that can sign at all."""
    moment = now()
    able = [key for key in known.keys if key.private is not None]
    return next((key for key in reversed(able) if key.signs_from <= moment), able[0])


def _verifier(key: SigningKey) -> ECKey:
    return ECKey.import_key(dict(key.public), {"kid": key.kid, "use": "sig", "alg": "ES256"})


def _place(kid: str) -> Place:
    return Place("signing_keys", "private", kid)
