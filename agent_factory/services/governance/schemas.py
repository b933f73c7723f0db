"""What travels about the audit trail. An event has the very members that its digest is made over."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import PlainSerializer, WithJsonSchema

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Moment, Output
from agent_factory.security.audit import Outcome, Touched

EventId = Annotated[UUID, Id("aud")]
OrganizationId = Annotated[UUID, Id("org")]
UserId = Annotated[UUID, Id("usr")]
KeyId = Annotated[UUID, Id("key")]
LoginId = Annotated[UUID, Id("lgn")]
Hex = Annotated[bytes, PlainSerializer(bytes.hex, return_type=str), WithJsonSchema({"type": "string"})]


class SealOut(Output):
    """An event's place: in the chain of all events, and (`position`) in that of its organisation. Hashes are hex."""

    sequence: int
    position: int
    digest: Hex
    previous: Hex
    hash: Hex
    own_previous: Hex
    own_hash: Hex
    sealed_at: Moment


class EventOut(Output):
    """One thing that happened; `seal` is absent within its first second."""

    id: EventId
    organization_id: OrganizationId
    occurred_at: Moment
    user_id: UserId | None
    key_id: KeyId | None
    session_id: LoginId | None
    role: str | None
    action: str
    resource: str | None
    outcome: Outcome
    request_id: str | None
    address: str | None
    user_agent: str | None
    details: dict[str, Any]
    seal: SealOut | None


class ProofOut(Output):
    """What ties the event to a signature: its leaf is at `index` of the Merkle tree whose root `statement` has.

    `path` leads from the leaf to the root; `signature` (Ed25519) is over the bytes of `statement`, which names the key.
    """

    statement: str
    signature: Hex
    index: int
    path: list[Hex]


class ProvedOut(EventOut):
    """An event with what proves it; `proof` is absent until it is signed."""

    proof: ProofOut | None


class EventPage(PageOf[EventOut]):
    """A page of events."""


class FindingOut(Output):
    """A row that was touched: an event by its id and its place, or a checkpoint by its number."""

    touched: Touched
    sequence: int | None
    event_id: EventId | None
    checkpoint: int | None
    detail: str


class Verification(Output):
    """What came of reading an organisation's whole chain.

    `events` were read, and the chain is signed up to the sequence `signed`;
    `pending` events wait for their seal. With `more`, there are further findings.
    """

    sound: bool
    events: int
    pending: int
    signed: int
    checkpoints: int
    findings: list[FindingOut]
    more: bool
    verified_at: Moment


class CheckpointOut(Output):
    """A signature over the chain of all events, from `first` to `last`.

    `signature` (Ed25519) is over `statement`; `public_key` is absent where the
    key is none of ours. All three are hex, but for the statement's own text.
    """

    number: int
    first: int
    last: int
    head: Hex
    root: Hex
    previous: Hex
    signed_at: Moment
    key_id: UUID
    public_key: Hex | None
    statement: str
    signature: Hex


class AuditKeyOut(Output):
    """A key that signs checkpoints, as hex, with the first and the last that it signed; at most one signs now."""

    id: UUID
    public_key: Hex
    first_checkpoint: int | None
    last_checkpoint: int | None
    signs_now: bool


class AuditKeyPage(PageOf[AuditKeyOut]):
    """All keys, oldest first."""


class CheckpointPage(PageOf[CheckpointOut]):
    """A page of checkpoints."""
