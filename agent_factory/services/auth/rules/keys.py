"""How keys are made and read."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence

import msgspec

from agent_factory.security.auth import Actor
from agent_factory.security.rbac import RIGHTS, allows

PREFIX = "af_"
"""What every key begins with."""
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_PREFIX_LENGTH = 12
_SECRET_BYTES = 32
_KEY = re.compile(rf"({PREFIX}[{_BASE32}]{{{_PREFIX_LENGTH}}})_[A-Za-z0-9_-]{{43}}")


class NewKey(msgspec.Struct, frozen=True):
    """A fresh key: `secret` is shown once, `prefix` and `hash` are kept."""

    secret: str
    prefix: str
    hash: bytes


def make_key() -> NewKey:
    """Make a key of 256 random bits under a public prefix."""
    prefix = PREFIX + "".join(secrets.choice(_BASE32) for _ in range(_PREFIX_LENGTH))
    secret = f"{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return NewKey(secret, prefix, key_hash(secret))


def key_prefix(secret: str) -> str | None:
    """Give the public prefix of what looks like a key, or None."""
    match = _KEY.fullmatch(secret)
    return match[1] if match else None


def key_hash(secret: str) -> bytes:
    """Hash a key as it is stored; 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).digest()


def same(left: bytes, right: bytes) -> bool:
    """Compare two hashes in constant time."""
    return hmac.compare_digest(left, right)


def unknown_scopes(scopes: Sequence[str]) -> list[int]:
    """Give the places of what is no right at all."""
    return [place for place, scope in enumerate(scopes) if scope not in RIGHTS]


def lacking(actor: Actor, scopes: Iterable[str]) -> list[str]:
    """Give the scopes that the caller may not hand on to a key of his own.

    `*` bounds nothing: such a key may do what its owner may, whatever that
    comes to be. Any other scope is a right, of his role or to a single resource.
    """
    held = actor.rights.union(*actor.grants.values())
    return [s for s in scopes if not allows(actor.scopes, s) or (s != "*" and not allows(held, s))]


def lacking_for_service(actor: Actor, scopes: Iterable[str]) -> list[str]:
    """Give the scopes that the caller may not hand on to a service, which has no other rights than those."""
    return [s for s in scopes if not allows(actor.scopes, s) or not allows(actor.rights, s)]
