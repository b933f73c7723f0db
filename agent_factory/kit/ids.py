"""Prefixed, sortable ids: `agt_` + 26 characters of a UUIDv7 in Crockford base32."""

import os
import time
from uuid import UUID

from agent_factory.kit.errors import NotFound

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {c: i for i, c in enumerate(_ALPHABET)} | {c.lower(): i for i, c in enumerate(_ALPHABET)}
_PAIRS = [a + b for a in _ALPHABET.lower() for b in _ALPHABET.lower()]
_LENGTH = 26


def uuid7() -> UUID:
    """Make a time-ordered UUID (RFC 9562, version 7: 48 bits of milliseconds, 74 random)."""
    stamp = time.time_ns() // 1_000_000
    rand = int.from_bytes(os.urandom(10))
    value = (stamp & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | (rand >> 68) << 64
    value |= 0b10 << 62 | (rand & 0x3FFF_FFFF_FFFF_FFFF)
    return UUID(int=value)


def encode(prefix: str, value: UUID) -> str:
    """Write an id for people and APIs, for example `run_01k8…` (lower case)."""
    number = value.int
    pairs = [_PAIRS[(number >> shift) & 0x3FF] for shift in range(120, -1, -10)]
    return f"{prefix}_{''.join(pairs)}"


def decode(prefix: str, text: str) -> UUID:
    """Read an id of one kind; anything else is `NotFound`, for no such object can exist."""
    head, _, body = text.partition("_")
    digits = [_VALUES[c] for c in body if c in _VALUES]
    number = sum(d << 5 * i for i, d in enumerate(reversed(digits)))
    if head != prefix or len(body) != _LENGTH or len(digits) != _LENGTH or number >> 128:
        raise NotFound(f"There is no object with this id; ids of this kind begin with {prefix}_.")
    return UUID(int=number)
