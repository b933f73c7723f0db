"""The sealed form of a value, and the one cipher that makes it: AES-256-GCM (S200).

A sealed value is one byte of version, the 16 bytes of the data key's id, a
random nonce of 96 bits, and the ciphertext with its tag. What is authenticated
beside it is where it belongs: organisation, table, column and row, each with
its length before it, so that no two places read alike.
"""

import os
from typing import NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent_factory.security.encryption.errors import CannotDecrypt

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12
_ID_END = 17
_NONCE_END = _ID_END + _NONCE_BYTES
_LEAST = _NONCE_END + 16


class Place(NamedTuple):
    """Where a sealed value belongs; `row` is the row's primary key."""

    table: str
    column: str
    row: UUID | str


def new_key() -> bytes:
    """Make a key for AES-256."""
    return AESGCM.generate_key(KEY_BYTES * 8)


def key_id(sealed: bytes) -> UUID:
    """Tell which data key sealed a value; raises `CannotDecrypt` for what is no sealed value."""
    if len(sealed) < _LEAST or sealed[:1] != _VERSION:
        raise CannotDecrypt("This is no sealed value.")
    return UUID(bytes=sealed[1:_ID_END])


def seal(cipher: AESGCM, data_key: UUID, organization_id: UUID | None, place: Place, plaintext: bytes) -> bytes:
    """Seal a value for one place."""
    head = _VERSION + data_key.bytes
    nonce = os.urandom(_NONCE_BYTES)
    return head + nonce + cipher.encrypt(nonce, plaintext, _beside(head, organization_id, place))


def unseal(cipher: AESGCM, organization_id: UUID | None, place: Place, sealed: bytes) -> bytes:
    """Open a value that was sealed for this very place; anything else is `CannotDecrypt`."""
    head, nonce = sealed[:_ID_END], sealed[_ID_END:_NONCE_END]
    try:
        return cipher.decrypt(nonce, sealed[_NONCE_END:], _beside(head, organization_id, place))
    except InvalidTag:
        raise CannotDecrypt("The value was changed, or sealed for another place.") from None


def bound(*parts: bytes) -> bytes:
    """Join parts so that no two lists of parts read alike."""
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def _beside(head: bytes, organization_id: UUID | None, place: Place) -> bytes:
    organization = organization_id.bytes if organization_id else b""
    return bound(head, organization, place.table.encode(), place.column.encode(), str(place.row).encode())
