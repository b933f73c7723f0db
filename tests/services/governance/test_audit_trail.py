"""What an organisation can show of what happened in it, and that nobody touched it (S196-S198)."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import FastAPI

from agent_factory.database.models import UserRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import decode, encode, uuid7
from agent_factory.security.auth import Actor
from agent_factory.services.organizations.service import found
from tests.serving import Client, client_of, opened, settings_for

_SEALING = {"sealer": True, "checkpoint_seconds": 0.1, "poll": 0.1}


@pytest.fixture
async def product(fresh_database_url: str, tmp_path: Path) -> AsyncGenerator[FastAPI]:
    """The product with its sealer, over a database of its own."""
    database = {"url": fresh_database_url, "data_dir": tmp_path}
    async with opened(settings_for(fresh_database_url, database=database, audit=_SEALING)) as running:
        yield running


@pytest.fixture
async def owner(product: FastAPI) -> AsyncGenerator[Client]:
    async with _founded(product, "mine") as client:
        yield client


@pytest.fixture
async def other(product: FastAPI) -> AsyncGenerator[Client]:
    async with _founded(product, "theirs") as client:
        yield client


@asynccontextmanager
async def _founded(app: FastAPI, name: str) -> AsyncGenerator[Client]:
    """Found an organisation, and give a client of its owner."""
    database: Database = app.state.platform.database
    async with database.system() as session:
        new = await found(session, name=name, email=f"{name}@example.com")
    async with client_of(app, new.secret) as client:
        client.actor = Actor(organization_id=new.organization_id, user_id=new.user_id, role="organization_owner")
        yield client


async def _sealed(client: Client, count: int) -> list[dict[str, Any]]:
    """Wait until so many events are sealed and signed, and give them, newest first."""
    async with asyncio.timeout(20):
        while True:
            listed = (await client.get("/api/v1/audit-events?limit=100")).json()["data"]
            if len(listed) >= count and all(event["seal"] for event in listed):
                done = (await client.get("/api/v1/audit:verify")).json()
                if done["signed"] >= listed[0]["seal"]["sequence"]:
                    return listed
            await asyncio.sleep(0.05)  # nothing tells when the chain is signed


async def test_what_happened_is_listed_filtered_and_shown(owner: Client, other: Client) -> None:
    agent = await owner.create_agent("support")
    await owner.patch(f"/api/v1/agents/{agent['id']}", json={"description": "helps"})
    await owner.delete(f"/api/v1/agents/{encode('agt', uuid7())}")
    await other.create_agent("theirs")
    listed = await _sealed(owner, 3)
    assert [(e["action"], e["outcome"]) for e in listed] == [
        ("agents_delete", "refused"),
        ("agents_update", "succeeded"),
        ("agents_create", "succeeded"),
    ]
    newest = listed[0]
    assert newest["details"] == {"code": "agent_not_found"}
    assert (await owner.get(f"/api/v1/audit-events/{newest['id']}")).json() == newest
    user = encode("usr", owner.actor.user_id)
    for query, count in {
        "action=agents_update": 1,
        f"resource={agent['id']}": 2,
        "outcome=refused": 1,
        f"actor={user}": 3,
        f"actor={newest['key_id']}": 3,
        f"actor={encode('usr', uuid7())}": 0,
        f"since={newest['occurred_at']}": 1,
        f"until={newest['occurred_at']}": 2,
        f"action=agents_create&actor={user}&outcome=refused": 0,
    }.items():
        found = (await owner.get(f"/api/v1/audit-events?{query}")).json()["data"]
        assert len(found) == count, query
    page = (await owner.get("/api/v1/audit-events?limit=2")).json()
    rest = (await owner.get(f"/api/v1/audit-events?limit=2&cursor={page['next_cursor']}")).json()
    assert [*page["data"], *rest["data"]] == listed
    assert not rest["has_more"]


@pytest.mark.parametrize(
    "query",
    ["actor=somebody", "since=yesterday", "since=2026-11-21T00:00:00", "until=0.5", "until=2026-11-21", "outcome=odd"],
)
async def test_a_filter_that_says_nothing_is_refused(client: Client, query: str) -> None:
    answer = await client.get(f"/api/v1/audit-events?{query}")
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    "path", ["/audit-events", "/audit-events/aud_00000000000000000000000000", "/audit-events:export", "/audit:verify"]
)
async def test_the_trail_is_for_those_who_lead_the_organisation(
    database: Database, client: Client, sign: Any, path: str
) -> None:
    viewer = UserRow(
        id=uuid7(), organization_id=client.actor.organization_id, email=f"{uuid7()}@example.com", role="viewer"
    )
    async with database.write(client.actor.organization_id) as session:
        session.add(viewer)
    theirs = await sign(Actor(organization_id=viewer.organization_id, user_id=viewer.id, role="viewer"))
    assert (await theirs.get(f"/api/v1{path}")).status_code == 403


async def test_an_export_can_be_verified_by_anybody_with_nothing_but_sha256(owner: Client, other: Client) -> None:
    for number in range(4):
        await owner.create_agent(f"agent-{number}")
        await other.create_agent(f"agent-{number}")
    await _sealed(owner, 4)
    answer = await owner.get("/api/v1/audit-events:export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["action"] for line in lines] == ["agents_create"] * 4
    previous = "00" * 32
    for position, line in enumerate(lines, 1):
        seal = line.pop("seal")
        canonical = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert hashlib.sha256(canonical).hexdigest() == seal["digest"]
        assert (seal["position"], seal["own_previous"]) == (position, previous)
        parts = (
            b"own\x01",
            bytes.fromhex(previous),
            position.to_bytes(8),
            decode("aud", line["id"]).bytes,
            bytes.fromhex(seal["digest"]),
        )
        previous = hashlib.sha256(b"".join(parts)).hexdigest()
        assert previous == seal["own_hash"]


async def test_checkpoints_are_signed_by_a_key_that_is_shown(owner: Client) -> None:
    await owner.create_agent("one")
    await _sealed(owner, 1)
    await owner.create_agent("two")
    await _sealed(owner, 2)
    page = (await owner.get("/api/v1/audit-checkpoints?limit=1")).json()
    following = (await owner.get(f"/api/v1/audit-checkpoints?cursor={page['next_cursor']}")).json()
    newest, before = page["data"][0], following["data"][0]
    for checkpoint in (newest, before):
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(checkpoint["public_key"]))
        key.verify(bytes.fromhex(checkpoint["signature"]), checkpoint["statement"].encode())
        assert json.loads(checkpoint["statement"])["root"] == checkpoint["root"]
    assert newest["previous"] == hashlib.sha256(before["statement"].encode()).hexdigest()
    assert newest["number"] == before["number"] + 1


async def test_an_organisation_verifies_its_own_chain(owner: Client, other: Client, fresh_database_url: str) -> None:
    await owner.create_agent("mine")
    await other.create_agent("theirs")
    (mine,) = await _sealed(owner, 1)
    (theirs,) = await _sealed(other, 1)
    sound = (await owner.get("/api/v1/audit:verify")).json()
    assert (sound["sound"], sound["events"], sound["findings"], sound["pending"]) == (True, 1, [], 0)
    attacker = await asyncpg.connect(fresh_database_url)
    try:
        await attacker.execute("ALTER TABLE audit_events NO FORCE ROW LEVEL SECURITY")
        await attacker.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
        await attacker.execute("UPDATE audit_events SET action = 'x' WHERE id = $1", decode("aud", theirs["id"]))
    finally:
        await attacker.close()
    assert (await owner.get("/api/v1/audit:verify")).json()["sound"]
    done = (await other.get("/api/v1/audit:verify")).json()
    assert not done["sound"]
    assert [(f["touched"], f["event_id"], f["sequence"]) for f in done["findings"]] == [
        ("edited", theirs["id"], theirs["seal"]["sequence"])
    ]
    assert mine["id"] != theirs["id"]
