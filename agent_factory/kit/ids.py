"""Prefixed, sortable ids: `agt_` + 26 characters of a UUIDv7 in Crockford base32."""

import os
import threading
import time
from uuid import UUID

from agent_factory.kit.errors import NotFound

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {c: i for i, c in enumerate(_ALPHABET)} | {c.lower(): i for i, c in enumerate(_ALPHABET)}
_PAIRS = [a + b for a in _ALPHABET.lower() for b in _ALPHABET.lower()]
_LENGTH = 26


_SECOND = 1000 << 12
"""The stamp's units in a second."""


class _Clock:
    """Gives each id of this process a later moment than the one before; the unit is 1/4096 of a millisecond."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def stamp(self) -> int:
        """Give the time since 1970, or a unit more than last time.

        A clock that was set back by more than a second is believed: ids that
        stood still until it has caught up would no longer tell the time.
        """
        moment = (time.time_ns() << 12) // 1_000_000
        with self._lock:
            if self._last - _SECOND < moment <= self._last:
                moment = self._last + 1
            self._last = moment
        return moment


_clock = _Clock()


def uuid7() -> UUID:
    """Make a UUID that sorts after every earlier one of this process.

    RFC 9562, version 7: 48 bits of milliseconds, 12 of their fraction, 62 random.
    """
    stamp = _clock.stamp()
    rand = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    value = (stamp >> 12 & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | rand
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
