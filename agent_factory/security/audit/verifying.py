"""Reads the chain from its beginning and names every row that was touched (S197, S198).

What counts is what was signed: each checkpoint's leaves say which event stood
where, with which digest, so that an event that was changed and sealed anew is
named itself. What is not signed yet is held against its own seals only.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from uuid import UUID

from agent_factory.database import audit as store
from agent_factory.security.audit import chain
from agent_factory.security.audit.checkpoints import Checkpoint
from agent_factory.security.audit.findings import Finding, Progress, Sources, Touched, named
from agent_factory.security.audit.links import Links
from agent_factory.security.audit.testimony import trusted_checkpoints

_PAGE = 1_000
"""Rows that are read at a time."""
_FIRST_ID = UUID(int=0)


async def verify(
    sources: Sources,
    *,
    organization_id: UUID | None = None,
    progress: Progress | None = None,
    step: Callable[[Progress], None] | None = None,
) -> AsyncGenerator[Finding, None]:
    """Give every row that was touched, in the chain's order; of one organisation if it is named.

    Needs the memory of one checkpoint's rows, however long the chain is.
    `progress` is kept up to date meanwhile, and `step` is called with it for each page.
    """
    counted = progress if progress is not None else Progress()
    async for finding in _Walk(sources, organization_id, counted, step).findings():
        counted.findings += 1
        yield finding


class _Walk:
    """One way through the chain."""

    def __init__(
        self,
        sources: Sources,
        organization_id: UUID | None,
        progress: Progress,
        step: Callable[[Progress], None] | None,
    ) -> None:
        self._step = step
        self._sources = sources
        self._rows = sources.rows
        self._own = organization_id
        self._progress = progress
        self._links = Links(own=organization_id is not None)
        self._next = 1
        self._places: dict[UUID, int] = {}

    async def findings(self) -> AsyncGenerator[Finding, None]:
        end = await store.head(self._rows)
        self._progress.head = end.number if end else 0
        async for checkpoint, faults in trusted_checkpoints(self._sources):
            for fault in faults:
                yield fault
            if checkpoint is None or checkpoint.last < self._next:
                continue
            async for finding in self._unsigned(checkpoint.first - 1):
                yield finding
            async for finding in self._signed(checkpoint):
                yield finding
            self._progress.checkpoints, self._progress.signed = checkpoint.number, checkpoint.last
            first, _ = self._progress.signers.get(checkpoint.key_id, (checkpoint.number, 0))
            self._progress.signers[checkpoint.key_id] = (first, checkpoint.number)
            self._progress.head = max(self._progress.head, checkpoint.last)
        async for finding in self._unsigned(self._progress.head):
            yield finding
        for finding in self._links.finish():
            yield finding
        async for finding in self._unsealed():
            yield finding

    async def _signed(self, checkpoint: Checkpoint) -> AsyncGenerator[Finding, None]:
        """Hold rows against what was signed of them."""
        start, self._next = self._next, checkpoint.last + 1
        signed = chain.leaves(checkpoint.leaves, checkpoint.version)
        leaves = dict(zip(range(checkpoint.first, checkpoint.last + 1), signed, strict=True))
        before, self._places = self._places, {leaf.event_id: sequence for sequence, leaf in leaves.items()}
        known = before | self._places
        missing = {
            leaf.event_id: n for n, leaf in leaves.items() if n >= start and self._own in (None, leaf.organization_id)
        }
        last: store.Seal | None = None
        for first in range(start, checkpoint.last + 1, _PAGE):
            final = min(first + _PAGE - 1, checkpoint.last)
            found = {row.seal.sequence: row for row in await store.sealed(self._rows, first, final, self._own)}
            self._stepped()
            for sequence in range(first, final + 1):
                row, leaf = found.get(sequence), leaves[sequence]
                if row is not None:
                    last = row.seal
                    missing.pop(row.seal.event_id, None)
                    for finding in self._row(row, leaf, known):
                        yield finding
                elif missing.pop(leaf.event_id, None) is not None:
                    for finding in self._links.skip():
                        yield finding
                    yield Finding(
                        touched=Touched.DELETED,
                        sequence=sequence,
                        event_id=leaf.event_id,
                        detail="Its place in the chain is empty.",
                    )
        if self._own is None and last is not None and last.sequence == checkpoint.last:
            for finding in self._links.end(checkpoint.head):
                yield finding
        for event_id, sequence in missing.items():
            yield Finding(
                touched=Touched.DELETED,
                sequence=sequence,
                event_id=event_id,
                detail="Another event stands in its place.",
            )

    async def _unsigned(self, until: int) -> AsyncGenerator[Finding, None]:
        """Hold rows that no checkpoint covers against their own seals."""
        while self._next <= until:
            rows = await store.sealed_after(self._rows, self._next - 1, until, _PAGE, self._own)
            self._stepped()
            for row in rows:
                for finding in self._row(row, None, self._places):
                    yield finding
            self._next = rows[-1].seal.sequence + 1 if len(rows) == _PAGE else until + 1

    def _stepped(self) -> None:
        if self._step is not None:
            self._step(self._progress)

    def _row(self, row: store.Sealed, leaf: chain.Leaf | None, places: Mapping[UUID, int]) -> list[Finding]:
        self._progress.events += 1
        return self._links.follow(row.seal, _fault(row, leaf, places))

    async def _unsealed(self) -> AsyncGenerator[Finding, None]:
        after: UUID | None = _FIRST_ID
        while after is not None:
            bare, after = await store.unsealed(self._rows, after, _PAGE, self._own)
            for event in bare:
                if event.listed:
                    self._progress.pending += 1
                else:
                    yield Finding(
                        touched=Touched.INSERTED, event_id=event.event_id, detail="No seal was ever asked for it."
                    )
        if self._own is None:
            for event in await store.lost(self._rows, _PAGE):
                yield Finding(
                    touched=Touched.DELETED, event_id=event.event_id, detail="It was deleted before it was sealed."
                )


def _fault(row: store.Sealed, leaf: chain.Leaf | None, places: Mapping[UUID, int]) -> Finding | None:
    """Tell what is wrong with a row by itself, and against what was signed of it."""
    seal, event = row.seal, row.event
    if leaf is not None and seal.event_id != leaf.event_id:
        place = places.get(seal.event_id)
        if place is not None:
            return named(Touched.REORDERED, seal, f"It was signed at sequence {place}.")
        return named(Touched.INSERTED, seal, "Another event was signed at its place.")
    if event is None:
        return named(Touched.DELETED, seal, "Only its seal is left.")
    digest = chain.digest(event)
    if digest != (leaf.digest if leaf is not None else seal.digest):
        return named(Touched.EDITED, seal, "It is not what was sealed.")
    sound = (seal.digest, seal.organization_id, seal.own_hash, seal.hash) == (
        digest,
        event.organization_id,
        chain.own_hash(seal),
        chain.seal_hash(seal),
    )
    return None if sound else named(Touched.SEAL_EDITED, seal, "Its seal was changed.")
