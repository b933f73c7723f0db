"""An export checked by whoever has it and the public keys, without the product, its database or its network (S198)."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent_factory.kit import ids
from agent_factory.kit.errors import NotFound
from agent_factory.security.audit import chain

_CANONICAL = msgspec.json.Encoder(order="sorted")


class Place(msgspec.Struct):
    """What a line says of its event's place."""

    sequence: int
    position: int
    digest: str
    own_previous: str
    own_hash: str


class Evidence(msgspec.Struct):
    """What a line says of who signed it."""

    statement: str
    signature: str
    index: int
    path: list[str]


class Statement(msgspec.Struct):
    """What of a signed statement is looked at."""

    version: int
    number: int
    first: int
    last: int
    root: str
    key_id: UUID


class Fault(msgspec.Struct, frozen=True):
    """A line that is not what was signed; `line` counts from 1."""

    line: int
    event_id: str | None
    detail: str


class Checked(msgspec.Struct):
    """What was read: lines, how many of them a signature covers, the places in the organisation's chain, and by key."""

    events: int = 0
    signed: int = 0
    first: int = 0
    last: int = 0
    signers: dict[UUID, tuple[int, int]] = {}


Link = tuple[bytes, bytes, int, str]
"""Hash before, own hash, line and id of an event."""
Places = dict[int, Link]
"""By the event's place in the organisation's chain."""


class _Wrong(Exception):
    """What is wrong with a line; it never leaves this module."""


def check(lines: Iterable[bytes], keys: Mapping[UUID, Ed25519PublicKey], checked: Checked) -> Iterator[Fault]:
    """Hold each line against its digest, its place and its signature, then the places against each other.

    Needs 80 bytes of memory for each event, for lines come in the order of
    time, and places in that of sealing.
    """
    places: Places = {}
    for number, line in enumerate(lines, 1):
        name: str | None = None
        try:
            event = _object(line)
            name = str(event.get("id"))[:64]
            place, evidence = _parts(event)
            checked.events += 1
            own = _own(event, place)
            _take(places, place.position, (*own, number, name))
            if evidence is not None:
                _hold(event, place, evidence, keys, checked)
                checked.signed += 1
        except _Wrong as wrong:
            yield Fault(number, name, str(wrong))
    yield from _linked(places, checked)


def _take(places: Places, position: int, link: Link) -> None:
    if position in places:
        raise _Wrong(f"Its place {position} is taken by {places[position][3]}.")
    places[position] = link


def _object(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise _Wrong("It is no event.") from None


def _parts(event: dict[str, Any]) -> tuple[Place, Evidence | None]:
    try:
        place = msgspec.convert(event.pop("seal", None), Place | None)
        evidence = msgspec.convert(event.pop("proof", None), Evidence | None)
    except msgspec.ValidationError:
        raise _Wrong("Its seal or its proof is none.") from None
    if place is None:
        raise _Wrong("It is not sealed; export it again a second later.")
    return place, evidence


def _own(event: dict[str, Any], place: Place) -> tuple[bytes, bytes]:
    """Give the hash of the event before, and its own, in the organisation's chain."""
    try:
        digest, previous, own = (bytes.fromhex(each) for each in (place.digest, place.own_previous, place.own_hash))
        event_id = ids.decode("aud", str(event.get("id")))
        linked = chain.own_link(previous, place.position, event_id, digest)
    except (ValueError, OverflowError, NotFound):
        raise _Wrong("Its seal is none.") from None
    if hashlib.sha256(_CANONICAL.encode(event)).digest() != digest:
        raise _Wrong("It is not what was sealed.")
    if linked != own:
        raise _Wrong("Its seal was changed.")
    return previous, own


def _hold(
    event: dict[str, Any],
    place: Place,
    evidence: Evidence,
    keys: Mapping[UUID, Ed25519PublicKey],
    checked: Checked,
) -> None:
    try:
        statement = msgspec.json.decode(evidence.statement, type=Statement)
        signature = bytes.fromhex(evidence.signature)
        path = [bytes.fromhex(each) for each in evidence.path]
        organization = ids.decode("org", event["organization_id"]) if event["organization_id"] else None
    except (msgspec.DecodeError, ValueError, KeyError, NotFound):
        raise _Wrong("Its proof is none.") from None
    key = keys.get(statement.key_id)
    if key is None:
        raise _Wrong(f"Checkpoint {statement.number} is signed by the key {statement.key_id}, which was not given.")
    try:
        key.verify(signature, evidence.statement.encode())
    except InvalidSignature:
        raise _Wrong(f"Checkpoint {statement.number} is not signed by its key.") from None
    own = bytes.fromhex(place.own_hash) if statement.version > 1 else b""
    leaf = chain.Leaf(ids.decode("aud", event["id"]), organization, bytes.fromhex(place.digest), own).encoded()
    size = statement.last - statement.first + 1
    root = chain.root_by(path, chain.leaf_hash(leaf), evidence.index, size)
    if place.sequence != statement.first + evidence.index or root is None or root.hex() != statement.root:
        raise _Wrong(f"Checkpoint {statement.number} does not sign it at its place.")
    first, last = checked.signers.get(statement.key_id, (statement.number, statement.number))
    checked.signers[statement.key_id] = (min(first, statement.number), max(last, statement.number))


def _linked(places: Places, checked: Checked) -> Iterator[Fault]:
    """Follow the organisation's chain from its first place in the file to its last."""
    order = sorted(places)
    if not order:
        return
    checked.first, checked.last = order[0], order[-1]
    before: bytes | None = chain.START if order[0] == 1 else None
    expected = order[0]
    for position in order:
        previous, own, line, name = places[position]
        if position != expected:
            gap = f"{expected} to {position - 1}" if position - 1 > expected else str(expected)
            yield Fault(line, name, f"What was at the places {gap} of the chain is missing before it.")
        elif before is not None and previous != before:
            yield Fault(line, name, "It does not follow the event before it.")
        before, expected = own, position + 1
