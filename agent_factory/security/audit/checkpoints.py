"""Signatures over the chain: what is signed, by whom, and whether it holds (S198)."""

import hashlib
from datetime import datetime
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agent_factory.database import audit as store
from agent_factory.kit.clock import rfc3339
from agent_factory.security.audit import chain

_CANONICAL = msgspec.json.Encoder(order="sorted")
_WIDEST = 2**63


class Checkpoint(store.Signature, frozen=True, kw_only=True):
    """A signature (Ed25519) over the seals from `first` to `last`.

    `head` is the hash of the last seal, `root` that of the Merkle tree over
    `leaves`, and `previous` names the checkpoint before by its statement's hash.
    """

    def statement(self) -> bytes:
        """Give what is signed: a JSON object with sorted names, hashes in hex."""
        return _CANONICAL.encode(
            {
                "version": self.version,
                "number": self.number,
                "first": self.first,
                "last": self.last,
                "head": self.head.hex(),
                "root": self.root.hex(),
                "previous": self.previous.hex(),
                "key_id": str(self.key_id),
                "signed_at": rfc3339(self.signed_at),
            }
        )

    def hash(self) -> bytes:
        """Give the name by which the next checkpoint knows this one."""
        return hashlib.sha256(self.statement()).digest()

    def holds(self, key: Ed25519PublicKey | None) -> bool:
        """Tell whether a key signed this, and this is about what its leaves say."""
        if key is None or not 0 < self.first <= self.last < _WIDEST:
            return False
        size = (self.last - self.first + 1) * chain.LEAF_BYTES.get(self.version, 0)
        if not size or len(self.leaves) != size or chain.root(self.leaves, self.version) != self.root:
            return False
        try:
            key.verify(self.signature, self.statement())
        except InvalidSignature:
            return False
        return True

    def encoded(self) -> bytes:
        """Write it for a witness."""
        return msgspec.json.encode(self)

    @classmethod
    def of(cls, row: store.Signature) -> "Checkpoint":
        """Read what the database kept."""
        return cls(**msgspec.structs.asdict(row))

    @classmethod
    def decoded(cls, text: bytes) -> "Checkpoint":
        """Read what a witness kept; raises `ValueError`."""
        return msgspec.json.decode(text, type=cls)


def sign(
    key_id: UUID,
    key: Ed25519PrivateKey,
    *,
    before: Checkpoint | None,
    last: int,
    head: bytes,
    leaves: bytes,
    signed_at: datetime,
    version: int = chain.VERSION,
) -> Checkpoint:
    """Make the checkpoint after `before` that ends with the seal `last`."""
    unsigned = Checkpoint(
        number=before.number + 1 if before else 1,
        first=before.last + 1 if before else 1,
        last=last,
        head=head,
        root=chain.root(leaves, version),
        leaves=leaves,
        previous=before.hash() if before else chain.START,
        key_id=key_id,
        signed_at=signed_at,
        signature=b"",
        version=version,
    )
    return msgspec.structs.replace(unsigned, signature=key.sign(unsigned.statement()))
