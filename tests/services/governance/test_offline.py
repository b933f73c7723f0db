"""Whoever has an export and the public keys, and nothing else, finds out what was done to it (S198)."""

import hashlib
import json
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from fastapi import FastAPI

from agent_factory.database.embedded import Server
from agent_factory.kit.ids import encode, uuid7
from agent_factory.security import audit
from agent_factory.security.audit import chain
from agent_factory.security.audit.offline import Checked, Fault, check
from agent_factory.security.auth import Actor
from agent_factory.services.organizations.service import found
from tests.conftest import new_database
from tests.serving import Client, client_of, opened, settings_for

Lines = list[dict[str, Any]]
Keys = dict[UUID, Ed25519PublicKey]

TAMPERINGS = 40
"""Of each way, with another seed each."""


class Export(msgspec.Struct):
    """What a verifier has."""

    lines: Lines
    keys: Keys


@pytest.fixture(scope="module")
async def product(postgres: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FastAPI]:
    """A product with a trail of its own, of which all is sealed and signed here."""
    async with new_database(postgres.url, f"TEMPLATE {template}") as url:
        settings = settings_for(
            url,
            database={"url": url, "data_dir": tmp_path_factory.mktemp("product")},
            audit={"sealer": False, "checkpoint_rows": 7},
        )
        async with opened(settings) as running:
            yield running


@pytest.fixture(scope="module")
async def owner(product: FastAPI) -> AsyncGenerator[Client]:
    async with product.state.platform.database.system() as session:
        new = await found(session, name="mine", email=f"{uuid7()}@example.com")
    async with client_of(product, new.secret) as client:
        client.actor = Actor(organization_id=new.organization_id, user_id=new.user_id, role="organization_owner")
        yield client


@pytest.fixture(scope="module")
async def export(product: FastAPI, owner: Client) -> Export:
    """Events of two organisations in turn, signed by two keys, the last three by none."""
    trail = product.state.platform.trail
    sealer = trail.sealer()
    own, other = owner.actor.organization_id, uuid7()
    for number in range(40):
        for organization in (own, other):
            event = audit.Event(
                action="agents_update", organization_id=organization, resource=f"agt_{number}", details={"n": number}
            )
            await audit.record_alone(product.state.platform.database.pool, event)
        if number == 18:
            await sealer.finish()
            await sealer.rotate()
        if number == 36:
            await sealer.finish()
    await sealer.seal()
    answer = await owner.get("/api/v1/audit-events:export", params={"proofs": "true"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    listed = (await owner.get("/api/v1/audit-keys")).json()["data"]
    assert [key["signs_now"] for key in listed][-2:] == [False, True]
    return Export(
        lines, {UUID(k["id"]): Ed25519PublicKey.from_public_bytes(bytes.fromhex(k["public_key"])) for k in listed}
    )


def _checked(lines: Lines, keys: Keys) -> tuple[list[Fault], Checked]:
    progress = Checked()
    return list(check([json.dumps(line).encode() for line in lines], keys, progress)), progress


def _copied(lines: Lines) -> Lines:
    return json.loads(json.dumps(lines))


def test_an_export_that_nobody_touched_is_sound_and_says_who_signed_it(export: Export) -> None:
    faults, progress = _checked(export.lines, export.keys)
    assert faults == []
    assert (progress.events, progress.signed, progress.first, progress.last) == (40, 37, 1, 40)
    assert len(progress.signers) == 2


def test_a_part_of_an_export_is_sound_from_its_first_place_to_its_last(export: Export) -> None:
    faults, progress = _checked(export.lines[10:30], export.keys)
    assert (faults, progress.first, progress.last) == ([], 11, 30)


async def test_without_proofs_an_export_has_none(owner: Client) -> None:
    answer = await owner.get("/api/v1/audit-events:export")
    assert all("proof" not in json.loads(line) for line in answer.text.splitlines())


def _chained(lines: Lines, first: int = 0) -> None:
    """Number and hash anew, as somebody can who has no key."""
    before = chain.START if first == 0 else bytes.fromhex(lines[first - 1]["seal"]["own_hash"])
    for place, line in enumerate(lines[first:], first + 1):
        event = {name: value for name, value in line.items() if name not in ("seal", "proof")}
        digest = hashlib.sha256(msgspec.json.encode(event, order="sorted")).digest()
        event_id = chain.ids.decode("aud", event["id"]).bytes
        own = hashlib.sha256(b"own\1" + before + place.to_bytes(8) + event_id + digest).digest()
        line["seal"] |= {
            "position": place, "digest": digest.hex(), "own_previous": before.hex(), "own_hash": own.hex(),
        }  # fmt: skip
        before = own


def _edit(lines: Lines, dice: random.Random) -> int:
    at = dice.randrange(36)
    field = dice.choice(("action", "resource", "occurred_at", "outcome", "details", "user_id", "organization_id"))
    lines[at][field] = {"details": {"n": -1}, "organization_id": encode("org", uuid7())}.get(field, "another")
    return at


def _edit_and_chain_anew(lines: Lines, dice: random.Random) -> int:
    at = _edit(lines, dice)
    _chained(lines, at)
    return at


def _edit_and_leave_out_the_proof(lines: Lines, dice: random.Random) -> int:
    at = _edit_and_chain_anew(lines, dice)
    lines[at]["proof"] = None
    return at + 1


def _delete(lines: Lines, dice: random.Random) -> int:
    at = dice.randrange(1, 36)
    del lines[at]
    return at


def _delete_and_chain_anew(lines: Lines, dice: random.Random) -> int:
    at = _delete(lines, dice)
    _chained(lines, at)
    return at


def _insert_and_chain_anew(lines: Lines, dice: random.Random) -> int:
    at = dice.randrange(1, 36)
    forged = _copied(lines[at : at + 1])[0]
    forged |= {"id": encode("aud", uuid7()), "action": "forged"}
    lines.insert(at, forged)
    _chained(lines, at)
    return at


def _swap_and_chain_anew(lines: Lines, dice: random.Random) -> int:
    one, other = sorted(dice.sample(range(36), 2))
    lines[one], lines[other] = lines[other], lines[one]
    _chained(lines, one)
    return one


def _swap_proofs(lines: Lines, dice: random.Random) -> int:
    one, other = sorted(dice.sample(range(36), 2))
    lines[one]["proof"], lines[other]["proof"] = lines[other]["proof"], lines[one]["proof"]
    return one


def _edit_the_proof(lines: Lines, dice: random.Random) -> int:
    at = dice.randrange(36)
    proof = lines[at]["proof"]
    what = dice.choice(("statement", "signature", "index", "path", "shorter", "longer"))
    if what == "statement":
        proof["statement"] = proof["statement"].replace('"last":', '"last": ')
    elif what == "signature":
        proof["signature"] = "00" * 64
    elif what == "index":
        proof["index"] += dice.choice((-1, 1, 7, 10**9))
    elif what == "longer":
        proof["path"].append("00" * 32)
    elif what == "shorter":
        proof["path"] = proof["path"][:-1] if proof["path"] else ["00" * 32]
    else:
        proof["path"] = ["11" * 32 for _ in proof["path"]] or ["11" * 32]
    return at


def _edit_the_sequence(lines: Lines, dice: random.Random) -> int:
    at = dice.randrange(36)
    lines[at]["seal"]["sequence"] += dice.choice((-1, 1, 100))
    return at


def _sign_with_another_key(lines: Lines, dice: random.Random) -> int:
    at = _edit_and_chain_anew(lines, dice)
    forger = Ed25519PrivateKey.generate()
    line = lines[at]
    seal = line["seal"]
    leaf = chain.Leaf(
        chain.ids.decode("aud", line["id"]),
        chain.ids.decode("org", line["organization_id"]),
        bytes.fromhex(seal["digest"]),
        bytes.fromhex(seal["own_hash"]),
    ).encoded()
    statement = json.loads(line["proof"]["statement"])
    statement |= {"first": seal["sequence"], "last": seal["sequence"], "root": chain.leaf_hash(leaf).hex()}
    text = json.dumps(statement)
    line["proof"] = {"statement": text, "signature": forger.sign(text.encode()).hex(), "index": 0, "path": []}
    return at


WAYS: list[Callable[[Lines, random.Random], int]] = [
    _edit,
    _edit_and_chain_anew,
    _edit_and_leave_out_the_proof,
    _delete,
    _delete_and_chain_anew,
    _insert_and_chain_anew,
    _swap_and_chain_anew,
    _swap_proofs,
    _edit_the_proof,
    _edit_the_sequence,
    _sign_with_another_key,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__[1:])
def test_every_tampering_with_an_export_is_named(export: Export, way: Callable[[Lines, random.Random], int]) -> None:
    for seed in range(TAMPERINGS):
        lines = _copied(export.lines)
        at = way(lines, random.Random(seed))  # noqa: S311 - to be repeated, no secret
        faults, _ = _checked(lines, export.keys)
        assert at + 1 in {fault.line for fault in faults}, (seed, at, faults)


def test_a_key_that_was_not_given_proves_nothing(export: Export) -> None:
    faults, _ = _checked(export.lines, {})
    assert len(faults) == 37
    assert all("was not given" in fault.detail for fault in faults)


def test_lines_that_are_no_events_are_named_and_the_rest_is_read(export: Export) -> None:
    good = json.dumps(export.lines[0]).encode()
    bad = [
        b"",
        b"[]",
        b"{",
        b"{}",
        b"[" * 100_000,
        b'{"id": 1, "seal": {}}',
        b"\xff",
        good.replace(b'"position": 1', b'"position": "1"'),
    ]
    progress = Checked()
    faults = list(check([*bad, good], export.keys, progress))
    assert {fault.line for fault in faults} >= set(range(1, len(bad) + 1))
    hostile = json.loads(good)
    for change in ({"position": 2**70}, {"digest": "zz"}, {"position": -(2**63)}, {"sequence": -1}):
        line = {**hostile, "seal": {**hostile["seal"], **change}}
        assert list(check([json.dumps(line).encode()], export.keys, Checked())), change


def test_the_paths_of_every_tree_lead_to_its_root() -> None:
    for size in range(1, 40):
        leaves = [chain.Leaf(uuid7(), None, bytes([n]) * 32, b"\2" * 32).encoded() for n in range(size)]
        tree = chain.levels(b"".join(leaves), 2)
        for index, leaf in enumerate(leaves):
            path = chain.path(tree, index)
            assert chain.root_by(path, chain.leaf_hash(leaf), index, size) == tree[-1][0]
            assert chain.root_by([*path, b"\0" * 32], chain.leaf_hash(leaf), index, size) is None
