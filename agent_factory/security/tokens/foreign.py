"""Access tokens of other issuers: JWTs as RFC 9068 and the vendors before it make them, read strictly (S33, S42).

What a token may say about its own verification ends at `kid`: any header beside
`alg`, `kid`, `typ` and the thumbprints of a certificate refuses it, so no key
and no rule is ever of the sender's choice.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NoReturn, cast

import msgspec
from joserfc.util import urlsafe_b64decode

from agent_factory.kit.mailbox import is_address
from agent_factory.security.rbac import RIGHTS
from agent_factory.security.tokens.jwks import ALGORITHMS, Key
from agent_factory.security.tokens.settings import IssuerSettings
from agent_factory.security.tokens.signed import LONGEST, invalid

_SHAPE = re.compile(r"[A-Za-z0-9_-]{1,2048}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_ACCESS_TYPES = frozenset({"at+jwt", "application/at+jwt"})
"""The types that say what it is (RFC 9068, 2.1); with `JWT` the claims have to."""
_LATEST = 2**40
_OF_ID_TOKENS = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})
_OF_ACCESS_TOKENS = frozenset({"scope", "scp", "client_id", "cid"})
"""What stands in the access tokens of the known vendors, and in no ID token (OpenID Connect Core, 2)."""
_KINDS = {"typ": "bearer", "token_use": "access"}
"""Claims by which Keycloak and Cognito say what a token is."""

Json = Mapping[str, Any]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    typ: str
    x5t: str = ""
    x5t_s256: str = msgspec.field(default="", name="x5t#S256")


class Head(msgspec.Struct, frozen=True):
    """How a token says that it is signed."""

    algorithm: str
    kid: str
    access: bool


class Vouched(msgspec.Struct, frozen=True):
    """Whom an issuer vouches for: the owner of an address, for some of his rights, until a second since 1970."""

    email: str
    scopes: frozenset[str]
    expires: int


def said_issuer(token: str) -> str | None:
    """Tell whose token something says it is, which is not verified; None for what is no token."""
    if len(token) > LONGEST or not _SHAPE.fullmatch(token):
        return None
    try:
        issuer = _object(token.split(".")[1]).get("iss")
    except (ValueError, RecursionError):
        return None
    return issuer if isinstance(issuer, str) else None


def head_of(token: str) -> Head:
    """Read the header of a token; anything in it that is not expected is `BadToken`."""
    try:
        header = msgspec.convert(_object(token.partition(".")[0]), _Header)
    except (ValueError, RecursionError, msgspec.ValidationError):
        raise invalid() from None
    access = header.typ.lower() in _ACCESS_TYPES
    if header.alg not in ALGORITHMS or not (access or header.typ.lower() == "jwt"):
        raise invalid()
    return Head(header.alg, header.kid, access)


def read(token: str, head: Head, key: Key, settings: IssuerSettings, now: int) -> Vouched:
    """Verify a token with the key that it names; anything wrong with it is `BadToken`."""
    said, _, mark = token.rpartition(".")
    try:
        good = key.verifies(head.algorithm, said.encode(), urlsafe_b64decode(mark.encode()))
        claims = _object(said.partition(".")[2])
    except (ValueError, RecursionError):
        raise invalid() from None
    if not good or claims.get("iss") != settings.issuer or not _for(claims.get("aud"), settings.audience):
        raise invalid()
    if "cnf" in claims or not (head.access or _is_access_token(claims)):
        raise invalid()  # with `cnf`, it is worth something only to who shows a key as well (RFC 7800)
    expires = _timely(claims, settings.leeway, now)
    email = claims.get(settings.email_claim)
    if not isinstance(email, str) or not is_address(email) or claims.get(settings.verified_claim) is not True:
        raise invalid()
    return Vouched(email, _scopes(claims, settings.scopes_claims), expires)


def _object(part: str) -> Json:
    """Read a part of a token; raises ValueError for what is no object, or says anything twice."""
    found = json.loads(
        urlsafe_b64decode(part.encode()).decode(), object_pairs_hook=_said_once, parse_constant=_no_number
    )
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004 - as whatever else is wrong with the text
    return cast("Json", found)


def _said_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member stands twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _for(audience: object, ours: str) -> bool:
    if isinstance(audience, list):
        named = cast("list[object]", audience)
        return all(isinstance(each, str) for each in named) and ours in named
    return audience == ours


def _is_access_token(claims: Json) -> bool:
    """Tell an access token whose type does not say so: by what only those have, and by nothing of an ID token's."""
    kinds = [str(claims[name]).lower() == kind for name, kind in _KINDS.items() if name in claims]
    if kinds:
        return all(kinds)
    return not claims.keys().isdisjoint(_OF_ACCESS_TOKENS) and claims.keys().isdisjoint(_OF_ID_TOKENS)


def _timely(claims: Json, leeway: int, now: int) -> int:
    """Give the end of a token that has begun and not ended."""
    expires = _moment(claims, "exp")
    begun = [_moment(claims, name) for name in ("iat", "nbf") if name in claims]
    if now >= expires + leeway or any(each > now + leeway or each >= expires for each in begun):
        raise invalid()
    return expires + leeway


def _moment(claims: Json, name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < _LATEST:
        raise invalid()
    return value


def _scopes(claims: Json, names: Iterable[str]) -> frozenset[str]:
    """Give what a token may be used for: everything where it does not say, else the rights of ours that it names."""
    narrowed = [_rights(claims[name]) for name in names if name in claims]
    return frozenset({"*"}) if not narrowed else narrowed[0].intersection(*narrowed[1:])


def _rights(said: object) -> frozenset[str]:
    words = said.split(" ") if isinstance(said, str) else said
    if not isinstance(words, list):
        raise invalid()
    return frozenset(each for each in cast("list[object]", words) if isinstance(each, str) and each in RIGHTS)
