"""What a verification tells: rows that were touched, and how far it has come."""

from collections.abc import AsyncIterator, Callable, Mapping
from enum import StrEnum
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent_factory.database import audit as store
from agent_factory.security.audit.checkpoints import Checkpoint


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
    """How far it has come; `pending` events wait for their seal, which is no fault.

    `signers` has the first and the last checkpoint that each key signed.
    """

    events: int = 0
    signed: int = 0
    head: int = 0
    checkpoints: int = 0
    pending: int = 0
    findings: int = 0
    signers: dict[UUID, tuple[int, int]] = {}


class Sources(msgspec.Struct, frozen=True):
    """What is held against what: the database's rows, the keys that count, and copies from outside, in order."""

    rows: store.Reads
    keys: Mapping[UUID, Ed25519PublicKey]
    copies: Callable[[], AsyncIterator[Checkpoint]] | None = None


def named(touched: Touched, seal: store.Seal, detail: str) -> Finding:
    """Name the event of a seal."""
    return Finding(touched=touched, sequence=seal.sequence, event_id=seal.event_id, detail=detail)
