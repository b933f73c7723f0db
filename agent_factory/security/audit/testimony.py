"""Which checkpoints can be relied on: those of the database, held against our keys and the copies from outside."""

from collections.abc import AsyncGenerator, Mapping
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent_factory.database import audit as store
from agent_factory.security.audit.checkpoints import Checkpoint
from agent_factory.security.audit.findings import Finding, Sources, Touched

_MOST_NAMED = 1_000
_SIGNATURES = 10
"""Checkpoints that are read at a time."""


async def trusted_checkpoints(sources: Sources) -> AsyncGenerator[tuple[Checkpoint | None, list[Finding]], None]:
    """Give each checkpoint that can be relied on, from the database or from outside, and what is wrong with it."""
    rows = _kept(sources.rows)
    copies = sources.copies() if sources.copies else _none()
    row, copy = await anext(rows, None), await anext(copies, None)
    before: Checkpoint | None = None
    replaced, signing = set[UUID](), None
    expected = 1
    while row is not None or copy is not None:
        number = min(each.number for each in (row, copy) if each is not None)
        here = row if row is not None and row.number == number else None
        outside = copy if copy is not None and copy.number == number else None
        chosen, faults = _chosen(sources.keys, number, here, outside)
        if number > expected:
            faults = [*_gone(expected, number), *faults]
        elif before is not None and chosen is not None and chosen.previous != before.hash():
            faults.append(_faulty(Touched.CHECKPOINT_FORGED, number, "It does not follow the checkpoint before it."))
        if chosen is not None and chosen.key_id != signing:
            if chosen.key_id in replaced:
                faults.append(_faulty(Touched.CHECKPOINT_FORGED, number, "A key that had been replaced signed it."))
                chosen = None
            else:
                signing = chosen.key_id
                replaced.add(signing)
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


def _gone(first: int, number: int) -> list[Finding]:
    """Name the checkpoints that are missing before one; of very many, the first."""
    missing = range(first, min(number, first + _MOST_NAMED))
    return [_faulty(Touched.CHECKPOINT_DELETED, n, f"None is left of those before number {number}.") for n in missing]


def _faulty(touched: Touched, number: int, detail: str) -> Finding:
    return Finding(touched=touched, checkpoint=number, detail=detail)
