"""The public keys of another issuer: fetched through the guard, kept for a while, and bound to what they are for."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from agent_factory.kit.errors import Problem, Unavailable
from agent_factory.security.egress import Egress, EgressFailed
from agent_factory.security.tokens.settings import IssuerSettings, fetchable

FRESH = 300.0
"""Seconds after which the keys are fetched again, beside the requests that need them."""
AGAIN = 60.0
"""Seconds between two fetches at least, whatever tokens say."""
_TIMEOUT = 5.0
_MOST_BYTES = 262_144
_MOST_KEYS = 100
_RSA_BITS = range(2048, 8193)
_LONGEST_EXPONENT = 8
_DISCOVERY = "/.well-known/openid-configuration"

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {("EC", "P-256"): ("ES256",), ("EC", "P-384"): ("ES384",), ("OKP", "Ed25519"): ("EdDSA", "Ed25519")}
_MODELS = {"EdDSA": "Ed25519"}
"""How the library calls an algorithm for one curve alone (RFC 9864)."""
ALGORITHMS = frozenset(_RSA).union(*_CURVES.values())
"""Asymmetric ones alone; each is bound to a type of key and a curve, or to 2,048 bits at least."""
_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_TYPES: Mapping[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}

log = structlog.stdlib.get_logger(__name__)


class IssuerAway(Unavailable):
    """The keys of another issuer are not known, or have been for too long."""

    code = "issuer_unavailable"
    title = "The issuer of this token cannot be asked for its keys"


class Key(msgspec.Struct, frozen=True):
    """A public key, and the algorithms that it verifies."""

    kid: str
    algorithms: frozenset[str]
    public: RSAKey | ECKey | OKPKey

    def verifies(self, algorithm: str, said: bytes, mark: bytes) -> bool:
        """Tell whether a signature is this key's."""
        if algorithm not in self.algorithms:
            return False
        try:
            return JWSRegistry.algorithms[_MODELS.get(algorithm, algorithm)].verify(said, mark, self.public)
        except (JoseError, ValueError):
            return False


class _Jwk(msgspec.Struct, frozen=True):
    """What is looked at of a key (RFC 7517, RFC 7518)."""

    kid: str
    kty: Literal["RSA", "EC", "OKP"]
    use: str = "sig"
    key_ops: Sequence[str] = ("verify",)
    alg: str | None = None
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""
    d: str | None = None


class Published:
    """What one issuer publishes, as this process knows it.

    One fetch at a time, one a minute at most. Where one fails, what is known
    goes on to count until it is older than the settings allow.
    """

    def __init__(self, egress: Egress, settings: IssuerSettings) -> None:
        """Fetch nothing yet; the configured host may be a private one."""
        self._settings = settings
        self._origin = settings.jwks_url or settings.issuer
        self._egress = egress.trusting(_authority(self._origin))
        self._keys: Sequence[Key] = ()
        self._known_at = self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: str, algorithm: str) -> Key | None:
        """Find the key with an id for an algorithm; raises `IssuerAway` where none are known well enough."""
        found = self._find(kid, algorithm)
        if found is None or self._age() >= self._stale:
            await self._fetch()
            found = self._find(kid, algorithm)
        elif self._age() >= FRESH:
            self._begin()
        if self._age() >= self._stale:
            raise IssuerAway("Its keys could not be fetched; try again in a minute.", retry_after=AGAIN)
        return found

    async def close(self) -> None:
        """Drop what is being fetched."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    @property
    def _stale(self) -> float:
        return FRESH + self._settings.stale_minutes * 60

    def _age(self) -> float:
        return time.monotonic() - self._known_at

    def _find(self, kid: str, algorithm: str) -> Key | None:
        fitting = [key for key in self._keys if key.kid == kid and algorithm in key.algorithms]
        return fitting[0] if len(fitting) == 1 else None

    async def _fetch(self) -> None:
        self._begin()
        if self._fetching is not None:
            await asyncio.shield(self._fetching)

    def _begin(self) -> None:
        """Begin to fetch, unless somebody does, or did within a minute."""
        moment = time.monotonic()
        if self._fetching is not None or moment - self._tried_at < AGAIN:
            return
        self._tried_at = moment
        self._fetching = asyncio.create_task(self._load(moment))
        self._fetching.add_done_callback(self._fetched)

    def _fetched(self, _done: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _load(self, moment: float) -> None:
        try:
            keys = keys_of(await self._document(self._settings.jwks_url or await self._discovered()))
        except Problem as problem:
            log.warning("the keys of an issuer could not be fetched", issuer=self._settings.issuer, code=problem.code)
            return
        self._keys, self._known_at = keys, moment

    async def _discovered(self) -> str:
        document = await self._document(self._settings.issuer.rstrip("/") + _DISCOVERY)
        url = document.get("jwks_uri")
        if document.get("issuer") != self._settings.issuer or not isinstance(url, str) or not fetchable(url):
            raise EgressFailed("The issuer's configuration is not its own, or names no keys.")
        return url

    async def _document(self, url: str) -> Mapping[str, Any]:
        answer = await self._egress.request(
            "GET", url, headers={"Accept": "application/json"}, timeout=_TIMEOUT, max_bytes=_MOST_BYTES
        )
        document = answer.json() if answer.status == 200 else None  # noqa: PLR2004 - RFC 9110
        if not isinstance(document, dict):
            raise EgressFailed("The issuer's answer is none.")
        return cast("Mapping[str, Any]", document)


def keys_of(document: Mapping[str, Any]) -> Sequence[Key]:
    """Read the keys of a JWK set that can verify signatures; raises `EgressFailed` for what is no set.

    Left out is whatever is secret, weak, for something else, or without a name.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(cast("list[object]", listed)) > _MOST_KEYS:
        raise EgressFailed("The issuer's answer is no set of keys.")
    found = [_key(each) for each in cast("list[object]", listed)]
    return [key for key in found if key is not None]


def _key(said: object) -> Key | None:
    try:
        jwk = msgspec.convert(said, _Jwk)
    except msgspec.ValidationError:
        return None
    if jwk.d is not None or jwk.use != "sig" or "verify" not in jwk.key_ops:
        return None
    algorithms = frozenset(_RSA if jwk.kty == "RSA" else _CURVES.get((jwk.kty, jwk.crv), ()))
    if jwk.alg is not None:
        algorithms &= {jwk.alg}
    if not algorithms or (jwk.kty == "RSA" and not _strong(jwk.n, jwk.e)):
        return None
    public = {"kty": jwk.kty, **{name: str(getattr(jwk, name)) for name in _MEMBERS[jwk.kty]}}
    try:
        return Key(jwk.kid, algorithms, _TYPES[jwk.kty].import_key({**public}))
    except (JoseError, ValueError):
        return None


def _strong(modulus: str, exponent: str) -> bool:
    try:
        bits = int.from_bytes(urlsafe_b64decode(modulus.encode())).bit_length()
        return bits in _RSA_BITS and len(urlsafe_b64decode(exponent.encode())) <= _LONGEST_EXPONENT
    except ValueError:
        return False


def _authority(url: str) -> str:
    split = urlsplit(url)
    return f"{split.hostname}:{split.port or (443 if split.scheme == 'https' else 80)}"
