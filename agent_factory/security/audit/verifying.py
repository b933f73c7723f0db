"""Reads the chain from its beginning and names every row that was touched (S197, S198).

What counts is what was signed: each checkpoint's leaves say which event stood
where, with which digest, so that an event that was changed and sealed anew is
named itself. What is not signed yet is held against its own seals only.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from enum import StrEnum
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent_factory.database import audit as store
from agent_factory.security.audit import chain
from agent_factory.security.audit.checkpoints import Checkpoint

_PAGE = 1_000
"""Rows that are read at a time."""
_SIGNATURES = 10
_FIRST_ID = UUID(int=0)


class Touched(StrEnum):
    """What was done to a row."""

    EDITED = "edited"
    DELETED = "deleted"
    INSERTED = "inserted"
    REORDERED = "reordered"
    SEAL_EDITED = "seal_edited"
    CHECKPOINT_FORGED = "checkpoint_forged"
    CHECKPOINT_DELETED = "checkpoint_deleted"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was touched: an event by its place and id, or a checkpoint by its number."""

    touched: Touched
    sequence: int | None = None
    event_id: UUID | None = None
    checkpoint: int | None = None
    detail: str


class Progress(msgspec.Struct):
    """How far it has come; `pending` events wait for their seal, which is no fault."""

    events: int = 0
    signed: int = 0
    head: int = 0
    checkpoints: int = 0
    pending: int = 0
    findings: int = 0


class Sources(msgspec.Struct, frozen=True):
    """What is held against what: the database's rows, the keys that count, and copies from outside, in order."""

    rows: store.Reads
    keys: Mapping[UUID, Ed25519PublicKey]
    copies: Callable[[], AsyncIterator[Checkpoint]] | None = None


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
        async for finding in self._unsigned(self._progress.head):
            yield finding
        for finding in self._links.finish():
            yield finding
        async for finding in self._unsealed():
            yield finding

    async def _signed(self, checkpoint: Checkpoint) -> AsyncGenerator[Finding, None]:
        """Hold rows against what was signed of them."""
        start, self._next = self._next, checkpoint.last + 1
        leaves = dict(zip(range(checkpoint.first, checkpoint.last + 1), chain.leaves(checkpoint.leaves), strict=True))
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


class Links:
    """Follows one seal after the other: in the chain of all, or in an organisation's own.

    Where a seal does not follow the one before it, that one was written anew,
    unless the next does not follow either: then it was the one between.
    """

    def __init__(self, *, own: bool) -> None:
        self._own = own
        self._before: store.Seal | None = None
        self._named = False
        self._explained = False
        self._loose = False
        self._suspect: store.Seal | None = None

    def follow(self, seal: store.Seal, fault: Finding | None) -> list[Finding]:
        """Take the next seal and what is wrong with it alone; give what is known to be wrong by now."""
        before, suspect = self._before, self._suspect
        holds = self._loose or self._named or fault is not None or self._holds(seal)
        found: list[Finding] = []
        self._suspect = None
        if suspect is not None:
            found.append(_rewritten(suspect if holds or before is None else before))
        elif not holds:
            fault = self._missing(seal) or (_rewritten(seal) if before is None else None)
            self._suspect = before if fault is None else None
        self._before, self._named, self._loose = seal, fault is not None and fault.sequence == seal.sequence, False
        self._explained = self._explained or self._named
        return found if fault is None else [*found, fault]

    def skip(self) -> list[Finding]:
        """Pass over a seal that is known to be gone."""
        found = self.finish()
        self._loose = self._explained = True
        return found

    def end(self, head: bytes) -> list[Finding]:
        """Hold the last seal against the hash that was signed for it; one that was named before explains any other."""
        last = self._before
        if self._explained or last is None or last.hash == head:
            return self.finish()
        self._suspect, self._named = None, True
        return [_rewritten(last)]

    def finish(self) -> list[Finding]:
        """Give what was still in doubt."""
        suspect, self._suspect = self._suspect, None
        return [] if suspect is None else [_rewritten(suspect)]

    def _number(self, seal: store.Seal) -> int:
        return seal.position if self._own else seal.sequence

    def _holds(self, seal: store.Seal) -> bool:
        before = self._before
        previous = seal.own_previous if self._own else seal.previous
        if before is None:
            return previous == chain.START and self._number(seal) == 1
        return previous == (before.own_hash if self._own else before.hash) and (
            self._number(seal) == self._number(before) + 1
        )

    def _missing(self, seal: store.Seal) -> Finding | None:
        """Tell whether seals are gone before this one."""
        last = 0 if self._before is None else self._number(self._before)
        count = self._number(seal) - last - 1
        if count <= 0:
            return None
        after = self._before.sequence if self._before else 0
        return Finding(
            touched=Touched.DELETED,
            sequence=after + 1,
            detail=f"{count} event(s) are gone before sequence {seal.sequence}.",
        )


async def trusted_checkpoints(sources: Sources) -> AsyncGenerator[tuple[Checkpoint | None, list[Finding]], None]:
    """Give each checkpoint that can be relied on, from the database or from outside, and what is wrong with it."""
    rows = _kept(sources.rows)
    copies = sources.copies() if sources.copies else _none()
    row, copy = await anext(rows, None), await anext(copies, None)
    before: Checkpoint | None = None
    expected = 1
    while row is not None or copy is not None:
        number = min(each.number for each in (row, copy) if each is not None)
        here = row if row is not None and row.number == number else None
        outside = copy if copy is not None and copy.number == number else None
        chosen, faults = _chosen(sources.keys, number, here, outside)
        if number > expected:
            faults.insert(0, _faulty(Touched.CHECKPOINT_DELETED, expected, f"Those before number {number} are gone."))
        elif before is not None and chosen is not None and chosen.previous != before.hash():
            faults.append(_faulty(Touched.CHECKPOINT_FORGED, number, "It does not follow the checkpoint before it."))
        yield chosen, faults
        before, expected = chosen, number + 1
        row = await anext(rows, None) if here is not None else row
        copy = await anext(copies, None) if outside is not None else copy


def _chosen(
    keys: Mapping[UUID, Ed25519PublicKey], number: int, here: Checkpoint | None, outside: Checkpoint | None
) -> tuple[Checkpoint | None, list[Finding]]:
    good = here if here is not None and here.holds(keys.get(here.key_id)) else None
    copy = outside if outside is not None and outside.holds(keys.get(outside.key_id)) else None
    faults: list[Finding] = []
    if here is None:
        faults.append(_faulty(Touched.CHECKPOINT_DELETED, number, "Only its copy outside of the database is left."))
    elif good is None:
        faults.append(_faulty(Touched.CHECKPOINT_FORGED, number, "No key of ours signed it as it is."))
    elif copy is not None and copy.statement() != good.statement():
        faults.append(_faulty(Touched.CHECKPOINT_FORGED, number, "Its copy outside of the database says otherwise."))
    if outside is not None and copy is None:
        faults.append(_faulty(Touched.CHECKPOINT_FORGED, number, "No key of ours signed its copy outside."))
    return copy or good, faults


async def _kept(source: store.Reads) -> AsyncGenerator[Checkpoint, None]:
    after = 0
    while rows := await store.signatures(source, after, _SIGNATURES):
        for row in rows:
            yield Checkpoint.of(row)
        after = rows[-1].number


async def _none() -> AsyncGenerator[Checkpoint, None]:
    for nothing in ():
        yield nothing


def _fault(row: store.Sealed, leaf: chain.Leaf | None, places: Mapping[UUID, int]) -> Finding | None:
    """Tell what is wrong with a row by itself, and against what was signed of it."""
    seal, event = row.seal, row.event
    if leaf is not None and seal.event_id != leaf.event_id:
        place = places.get(seal.event_id)
        if place is not None:
            return _touched(Touched.REORDERED, seal, f"It was signed at sequence {place}.")
        return _touched(Touched.INSERTED, seal, "Another event was signed at its place.")
    if event is None:
        return _touched(Touched.DELETED, seal, "Only its seal is left.")
    digest = chain.digest(event)
    if digest != (leaf.digest if leaf is not None else seal.digest):
        return _touched(Touched.EDITED, seal, "It is not what was sealed.")
    sound = (seal.digest, seal.organization_id, seal.own_hash, seal.hash) == (
        digest,
        event.organization_id,
        chain.own_hash(seal),
        chain.seal_hash(seal),
    )
    return None if sound else _touched(Touched.SEAL_EDITED, seal, "Its seal was changed.")


def _touched(touched: Touched, seal: store.Seal, detail: str) -> Finding:
    return Finding(touched=touched, sequence=seal.sequence, event_id=seal.event_id, detail=detail)


def _rewritten(seal: store.Seal) -> Finding:
    return _touched(Touched.SEAL_EDITED, seal, "Its seal was written anew: the seals beside it do not fit.")


def _faulty(touched: Touched, number: int, detail: str) -> Finding:
    return Finding(touched=touched, checkpoint=number, detail=detail)
