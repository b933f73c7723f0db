"""How events are written for hashing, and how their hashes hang together (S197); nothing here reads or writes.

An event's digest is the SHA-256 of its canonical form: a JSON object of its
columns with sorted names and no spaces, in UTF-8. A seal's hash covers the
digest, the event's two places and the seal before it; an organisation's own
chain goes over the same digests. A checkpoint signs the root of a Merkle tree
(as in RFC 6962) over leaves that name event, organisation, digest and the hash
in the organisation's own chain.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.database.audit import Event, Seal
from agent_factory.kit import ids
from agent_factory.kit.clock import rfc3339

START = b"\0" * 32
"""What stands before the first seal of a chain, and before the first checkpoint."""
LEAF_BYTES = {1: 64, 2: 96}
"""How long a leaf is, by the version of the checkpoint that signs it; the second kind covers `own_hash`, too."""
VERSION = 2
"""The version of what is signed now."""
_NOBODY = UUID(int=0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CANONICAL = msgspec.json.Encoder(order="sorted")
_PREFIXES = {"id": "aud", "organization_id": "org", "user_id": "usr", "key_id": "key", "session_id": "lgn"}


FIELDS = (
    "id",
    "organization_id",
    "occurred_at",
    "user_id",
    "key_id",
    "session_id",
    "role",
    "action",
    "resource",
    "outcome",
    "request_id",
    "address",
    "user_agent",
    "details",
)
"""The columns that a digest covers, which are all; another column needs another version of the canonical form."""


class Leaf(msgspec.Struct, frozen=True):
    """What a checkpoint signs of one event; the first version has no `own_hash`."""

    event_id: UUID
    organization_id: UUID | None
    digest: bytes
    own_hash: bytes = b""

    def encoded(self) -> bytes:
        """Write it as a checkpoint keeps it."""
        return self.event_id.bytes + (self.organization_id or _NOBODY).bytes + self.digest + self.own_hash


def shown(event: Event) -> dict[str, Any]:
    """Give an event as it is hashed, shown and exported: ids with their prefixes, the time as RFC 3339."""
    out: dict[str, Any] = {name: getattr(event, name) for name in FIELDS}
    for name, prefix in _PREFIXES.items():
        if out[name] is not None:
            out[name] = ids.encode(prefix, out[name])
    out["occurred_at"] = rfc3339(event.occurred_at)
    return out


def digest(event: Event) -> bytes:
    """Give an event's digest."""
    return hashlib.sha256(_CANONICAL.encode(shown(event))).digest()


def seal_hash(seal: Seal) -> bytes:
    """Give the hash that a seal has to have in the chain of all events."""
    micros = (seal.sealed_at - _EPOCH) // (datetime.resolution)
    parts = (
        b"seal\x01",
        seal.previous,
        seal.sequence.to_bytes(8, signed=True),
        seal.event_id.bytes,
        seal.digest,
        own_hash(seal),
        micros.to_bytes(8, signed=True),
    )
    return hashlib.sha256(b"".join(parts)).digest()


def own_hash(seal: Seal) -> bytes:
    """Give the hash that a seal has to have in the chain of its organisation."""
    return own_link(seal.own_previous, seal.position, seal.event_id, seal.digest)


def own_link(previous: bytes, position: int, event_id: UUID, digest: bytes) -> bytes:
    """Give the hash of an event at its place in the chain of its organisation; `OverflowError` for no such place."""
    parts = (b"own\x01", previous, position.to_bytes(8, signed=True), event_id.bytes, digest)
    return hashlib.sha256(b"".join(parts)).digest()


def leaves(encoded: bytes, version: int) -> Iterator[Leaf]:
    """Read the leaves of a checkpoint; a rest that is no leaf is left out."""
    size = LEAF_BYTES[version]
    for start in range(0, len(encoded) - size + 1, size):
        organization = UUID(bytes=encoded[start + 16 : start + 32])
        yield Leaf(
            UUID(bytes=encoded[start : start + 16]),
            None if organization == _NOBODY else organization,
            encoded[start + 32 : start + 64],
            encoded[start + 64 : start + size],
        )


def root(encoded: bytes, version: int) -> bytes:
    """Give the Merkle tree's root over encoded leaves (RFC 6962, section 2.1)."""
    return levels(encoded, version)[-1][0] if encoded else hashlib.sha256(b"").digest()


def levels(encoded: bytes, version: int) -> list[list[bytes]]:
    """Give the Merkle tree over encoded leaves, level by level: their hashes first, the root last."""
    size = LEAF_BYTES[version]
    level = [leaf_hash(encoded[start : start + size]) for start in range(0, len(encoded), size)]
    tree = [level]
    while len(level) > 1:
        level = _parents(level)
        tree.append(level)
    return tree


def leaf_hash(encoded: bytes) -> bytes:
    """Give the hash of one encoded leaf."""
    return hashlib.sha256(b"\0" + encoded).digest()


def path(tree: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """Give the hashes that lead from a leaf to the root (RFC 6962, section 2.1.1)."""
    found: list[bytes] = []
    for level in tree[:-1]:
        if index ^ 1 < len(level):
            found.append(level[index ^ 1])
        index //= 2
    return found


def root_by(path: Sequence[bytes], leaf: bytes, index: int, size: int) -> bytes | None:
    """Give the root to which a path leads from the leaf at a place among so many; None where it has another length."""
    node, rest = leaf, list(reversed(path))
    while size > 1:
        if index ^ 1 < size:
            if not rest:
                return None
            beside = rest.pop()
            node = _parent(beside, node) if index % 2 else _parent(node, beside)
        index, size = index // 2, (size + 1) // 2
    return None if rest else node


def _parents(level: Sequence[bytes]) -> list[bytes]:
    paired = [_parent(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
    return [*paired, *level[len(level) - len(level) % 2 :]]


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
