"""The form of an access token, and the one way to sign and to read it.

A token's header holds `alg`, `kid` and `typ` and nothing else, so whatever
would name a key or a rule of the sender's choice (`jwk`, `jku`, `x5c`, `crit`,
…) is refused before anything else is looked at.
"""

import re
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.util import urlsafe_b64decode

from agent_factory.kit import ids
from agent_factory.kit.errors import NotFound
from agent_factory.kit.ids import uuid7
from agent_factory.security.tokens.errors import BadToken

LONGEST = 8192
"""Characters of the longest token that is looked at."""
SKEW_SECONDS = 5
"""How far the clocks of two servers may be apart."""
_ALGORITHM = "ES256"
_TYPE = "at+jwt"
_REGISTRY = jws.JWSRegistry(algorithms=[_ALGORITHM])
_SHAPE = re.compile(r"[A-Za-z0-9_-]{1,512}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}")

Moment = Annotated[int, msgspec.Meta(ge=0, lt=2**40)]


class Subject(msgspec.Struct, frozen=True):
    """Whom a token stands for: a person, in one organisation, in one session."""

    user_id: UUID
    organization_id: UUID
    session_id: UUID


class Rules(msgspec.Struct, frozen=True):
    """What every token of this installation says; `lifetime` is in seconds."""

    issuer: str
    audience: str
    lifetime: int


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says; times in whole seconds since 1970."""

    iss: str
    aud: str
    sub: str
    org: str
    sid: str
    jti: str
    iat: Moment
    nbf: Moment
    exp: Moment

    def subject(self) -> Subject:
        """Read the ids; a token of ours holds ids of the right kinds."""
        try:
            return Subject(ids.decode("usr", self.sub), ids.decode("org", self.org), ids.decode("lgn", self.sid))
        except NotFound:
            raise invalid() from None


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["ES256"]
    typ: Literal["at+jwt"]
    kid: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]


_headers = msgspec.json.Decoder(_Header)
_claims = msgspec.json.Decoder(Claims)


def invalid() -> BadToken:
    """Say that a token is not valid, and no more."""
    return BadToken("The access token is not valid any more, or never was; refresh it or log in again.")


def sign(subject: Subject, kid: str, key: ECKey, rules: Rules, now: int) -> str:
    """Make a token that is valid from `now` on."""
    claims = Claims(
        iss=rules.issuer,
        aud=rules.audience,
        sub=ids.encode("usr", subject.user_id),
        org=ids.encode("org", subject.organization_id),
        sid=ids.encode("lgn", subject.session_id),
        jti=uuid7().hex,
        iat=now,
        nbf=now,
        exp=now + rules.lifetime,
    )
    header = {"alg": _ALGORITHM, "typ": _TYPE, "kid": kid}
    return jws.serialize_compact(header, msgspec.json.encode(claims), key, registry=_REGISTRY)


def named_key(token: str) -> str:
    """Tell which key a token says it was signed with; what is no token of ours is `BadToken`."""
    if len(token) > LONGEST or not _SHAPE.fullmatch(token):
        raise invalid()
    try:
        return _headers.decode(urlsafe_b64decode(token.partition(".")[0].encode())).kid
    except (ValueError, msgspec.DecodeError):
        raise invalid() from None


def read(token: str, key: ECKey, rules: Rules, now: int) -> Claims:
    """Verify a token with the key that it names; anything wrong with it is `BadToken`."""
    try:
        payload = jws.deserialize_compact(token, key, registry=_REGISTRY).payload
        claims = _claims.decode(payload)
    except (JoseError, ValueError, msgspec.DecodeError):
        raise invalid() from None
    if msgspec.json.encode(claims) != payload:
        raise invalid()  # ours have one form only, in which nothing stands twice
    if claims.iss != rules.issuer or claims.aud != rules.audience or not _timely(claims, rules, now):
        raise invalid()
    return claims


def _timely(claims: Claims, rules: Rules, now: int) -> bool:
    begun = max(claims.iat, claims.nbf) <= now + SKEW_SECONDS
    return begun and now < claims.exp and claims.iat < claims.exp <= claims.iat + rules.lifetime
