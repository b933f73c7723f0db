"""What ties one event to a signature, so that whoever has the event and the public key needs nothing else (S198)."""

from collections.abc import Sequence

import msgspec

from agent_factory.database import audit as store
from agent_factory.security.audit import chain
from agent_factory.security.audit.checkpoints import Checkpoint


class Proof(msgspec.Struct, frozen=True):
    """An event's leaf is at `index` of the tree that `statement` signs; `path` leads from it to the root."""

    statement: str
    signature: bytes
    index: int
    path: list[bytes]


class Prover:
    """Gives proofs one after the other; it keeps the tree of one checkpoint, so ask in the chain's order."""

    def __init__(self, source: store.Reads) -> None:
        self._source = source
        self._checkpoint: Checkpoint | None = None
        self._tree: Sequence[Sequence[bytes]] = ()

    async def proof(self, sequence: int) -> Proof | None:
        """Prove that an event was signed; None where it is not yet."""
        known = self._checkpoint
        if known is None or not known.first <= sequence <= known.last:
            row = await store.covering(self._source, sequence)
            if row is None:
                return None
            known = self._checkpoint = Checkpoint.of(row)
            self._tree = chain.levels(known.leaves, known.version)
        index = sequence - known.first
        if index >= len(self._tree[0]):
            return None  # somebody has cut the leaves: there is nothing to prove it by
        return Proof(known.statement().decode(), known.signature, index, chain.path(self._tree, index))
