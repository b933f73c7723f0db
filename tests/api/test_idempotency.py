"""Idempotency-Key: one effect, the first answer for each repetition (abuse 72)."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import msgspec
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy import text
from starlette.responses import Response

from agent_factory.api.access import need_of
from agent_factory.api.idempotency import Recording
from agent_factory.api.routing import SHOWN_ONCE
from agent_factory.database import idempotency as store
from agent_factory.database.models import UserRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor
from tests.services.auth.people import PASSWORD, code_of, make_person, signed_in
from tests.serving import Client, Sign

KEY = {"Idempotency-Key": "order-1"}
AGENT = {"name": "support", "model": "demo"}
SECRETIVE = {"key", "secret", "token", "access_token", "refresh_token", "password", "otpauth_uri", "recovery_codes"}


async def agents_of(client: Client) -> list[str]:
    return [a["name"] for a in (await client.get("/api/v1/agents", params={"limit": 100})).json()["data"]]


async def test_a_repetition_gets_the_first_answer_and_has_no_effect(client: Client) -> None:
    first = await client.post("/api/v1/agents", json=AGENT, headers=KEY)
    again = await client.post("/api/v1/agents", json=AGENT, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert await agents_of(client) == ["support"]


async def test_the_same_key_with_another_body_is_refused(client: Client) -> None:
    await client.post("/api/v1/agents", json=AGENT, headers=KEY)
    other = await client.post("/api/v1/agents", json={**AGENT, "name": "sales"}, headers=KEY)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert await agents_of(client) == ["support"]


async def test_fifty_at_once_have_one_effect(client: Client) -> None:
    answers = await asyncio.gather(
        *(client.post("/api/v1/api-keys", json={"name": "ci"}, headers=KEY) for _ in range(50))
    )
    seen = Counter((a.status_code, a.json().get("code")) for a in answers)
    assert seen[201, None] == 1
    assert set(seen) <= {(201, None), (409, "idempotency_in_flight"), (409, "idempotency_answer_shown_once")}
    names = [k["name"] for k in (await client.get("/api/v1/api-keys")).json()["data"]]
    assert names.count("ci") == 1


async def test_fifty_at_once_without_a_writing_transaction_have_one_effect(client: Client) -> None:
    path = "/api/v1/tools/calculator:invoke"
    body = {"arguments": {"expression": "6 * 7"}}
    answers = await asyncio.gather(*(client.post(path, json=body, headers=KEY) for _ in range(50)))
    seen = Counter(a.status_code for a in answers)
    assert set(seen) <= {200, 409}
    ran = [a for a in answers if a.status_code == 200 and "idempotent-replayed" not in a.headers]
    assert len(ran) == 1
    again = await client.post(path, json=body, headers=KEY)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["content"] == "42"


async def test_a_failed_request_may_be_made_again_with_its_key(client: Client) -> None:
    refused = await client.post("/api/v1/agents", json={"name": "Not A Name"}, headers=KEY)
    assert refused.status_code == 422
    made = await client.post("/api/v1/agents", json=AGENT, headers=KEY)
    assert made.status_code == 201
    unread = await client.post("/api/v1/tools/calculator:invoke", json={"arguments": 1}, headers=KEY)
    assert unread.status_code == 422
    assert (await client.post("/api/v1/tools/calculator:invoke", json={"arguments": 1}, headers=KEY)).status_code == 422
    missing = await client.post("/api/v1/tools/nope:invoke", json={}, headers=KEY)
    assert missing.status_code == 404
    assert (await client.post("/api/v1/tools/nope:invoke", json={}, headers=KEY)).status_code == 404


async def test_a_key_belongs_to_its_organisation_and_its_path(client: Client, stranger: Client) -> None:
    mine = await client.post("/api/v1/agents", json=AGENT, headers=KEY)
    theirs = await stranger.post("/api/v1/agents", json=AGENT, headers=KEY)
    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine.json()["id"]
    validated = await client.post("/api/v1/agents:validate", json={"name": "other", "model": "demo"}, headers=KEY)
    assert validated.status_code == 200


async def test_a_secret_is_not_kept_for_a_repetition(client: Client, database: Database) -> None:
    made = await client.post("/api/v1/api-keys", json={"name": "ci"}, headers=KEY)
    again = await client.post("/api/v1/api-keys", json={"name": "ci"}, headers=KEY)
    assert again.status_code == 409
    assert again.json()["code"] == "idempotency_answer_shown_once"
    (kept,) = await _kept_of(database, client.actor.organization_id)
    assert made.json()["key"].encode() not in kept


async def test_no_secret_of_a_second_factor_is_kept(app: FastAPI, anyone: Client, database: Database) -> None:
    """These answers come from routes without a writing transaction of their own."""
    person = await make_person(app)
    async with await signed_in(app, anyone, person) as own:
        enrolled = await own.post("/api/v1/auth/second-factor", json={"password": PASSWORD}, headers=KEY)
        secret = enrolled.json()["secret"]
        again = await own.post("/api/v1/auth/second-factor", json={"password": PASSWORD}, headers=KEY)
        assert (again.status_code, again.json()["code"]) == (409, "idempotency_answer_shown_once")
        confirmed = await own.post("/api/v1/auth/second-factor:confirm", json={"otp": code_of(secret)}, headers=KEY)
        codes = confirmed.json()["recovery_codes"]
        both = {"password": PASSWORD, "otp": code_of(secret, 1)}
        renewed = await own.post("/api/v1/auth/recovery-codes", json=both, headers=KEY)
        codes += renewed.json()["recovery_codes"]
    kept = await _kept_of(database, person.organization_id)
    assert (len(kept), len(codes)) == (3, 20)
    assert not [one for one in (secret, *codes) if one.encode() in b"".join(kept)]


def test_every_answer_with_a_secret_that_a_key_could_keep_is_marked_as_shown_once(app: FastAPI) -> None:
    """By the names of its fields: a new route that forgets the mark fails here."""
    routes = [r for r in app.routes if isinstance(r, APIRoute) and "POST" in (r.methods or ())]
    kept = [r for r in routes if need_of(r.endpoint).permission is not None and r.response_field is not None]
    secretive = {r.path for r in kept if _fields(r.response_model) & SECRETIVE}
    marked = {r.path for r in kept if SHOWN_ONCE in (r.openapi_extra or {})}
    assert len(kept) > 30
    assert "/api/v1/api-keys" in secretive
    assert secretive - marked == set()


def _fields(model: Any) -> set[str]:
    return set(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else set()


async def _kept_of(database: Database, organization_id: UUID) -> list[bytes]:
    async with database.read(organization_id) as session:
        rows = await session.scalars(text("select response || convert_to(headers::text, 'UTF8') from idempotency_keys"))
        return list(rows)


async def test_a_key_is_its_senders_own(client: Client, sign: Sign, database: Database) -> None:
    """A colleague who happens to choose the same key gets an effect of his own, and sees no answer of another's."""
    colleague_id = uuid7()
    async with database.write(client.actor.organization_id) as session:
        address = f"{colleague_id}@example.com"
        session.add(
            UserRow(
                id=colleague_id,
                organization_id=client.actor.organization_id,
                email=address,
                name="Colleague",
                role="organization_owner",
            )
        )
    colleague = await sign(msgspec.structs.replace(client.actor, user_id=colleague_id))
    body = {"agent": (await client.create_agent())["id"]}
    mine, theirs = [await each.post("/api/v1/sessions", json=body, headers=KEY) for each in (client, colleague)]
    assert (mine.status_code, theirs.status_code) == (201, 201), theirs.text
    assert mine.json()["id"] != theirs.json()["id"]
    assert "idempotent-replayed" not in theirs.headers
    path, call = "/api/v1/tools/calculator:invoke", {"arguments": {"expression": "6 * 7"}}
    answers = [await each.post(path, json=call, headers=KEY) for each in (client, colleague)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert "idempotent-replayed" not in answers[1].headers


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ümlaut", "tab\there"])
async def test_an_unusable_key_is_refused(client: Client, key: str) -> None:
    answer = await client.post("/api/v1/agents", json=AGENT, headers={b"Idempotency-Key": key.encode()})
    assert answer.status_code == 400
    assert await agents_of(client) == []


async def test_a_request_whose_process_died_has_no_half_effect(
    database: Database, actor: Actor, client: Client
) -> None:
    """The key and the effect are one transaction, so what was cut off may simply be made again."""
    name = store.RequestKey(actor.organization_id, KEY["Idempotency-Key"], f"{actor.user_id} POST /api/v1/agents")

    async with database.write(actor.organization_id) as session:
        assert await store.lock(session, name)
        assert await store.claim(session, name, b"x")
        await session.rollback()
    made = await client.post("/api/v1/agents", json=AGENT, headers=KEY)
    assert made.status_code == 201


async def test_a_key_that_is_held_by_a_request_in_flight_is_a_conflict(
    database: Database, actor: Actor, client: Client
) -> None:
    name = store.RequestKey(actor.organization_id, KEY["Idempotency-Key"], f"{actor.user_id} POST /api/v1/agents")
    async with database.write(actor.organization_id) as session:
        assert await store.lock(session, name)
        answer = await client.post("/api/v1/agents", json=AGENT, headers=KEY)
    assert answer.status_code == 409
    assert answer.json()["code"] == "idempotency_in_flight"


async def _talk(client: Client) -> str:
    agent = await client.create_agent()
    await client.post(f"/api/v1/agents/{agent['id']}:deploy")
    session = await client.post("/api/v1/sessions", json={"agent": "support"})
    return f"/api/v1/sessions/{session.json()['id']}/messages"


async def test_a_streamed_answer_is_repeated_as_it_was(client: Client) -> None:
    path = await _talk(client)
    said = {"content": "hello", "stream": True}
    first = await client.post(path, json=said, headers=KEY)
    again = await client.post(path, json=said, headers=KEY)
    assert first.headers["content-type"].startswith("text/event-stream")
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.text == first.text
    assert "run.completed" in first.text
    assert len((await client.get("/api/v1/runs")).json()["data"]) == 1


async def test_a_stream_is_kept_although_its_reader_left(database: Database, actor: Actor) -> None:
    """Whoever lost the answer will ask for it again with the same key."""
    go_on = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        yield b"one "
        await go_on.wait()
        yield b"two"

    request = store.RequestKey(actor.organization_id, "stream", "POST /somewhere")
    async with database.write(actor.organization_id) as session:
        assert await store.claim(session, request, b"x")
    recording = Recording(source())
    settling = asyncio.create_task(recording.settle(Response(), database, request))
    async with aclosing(recording.read()) as pieces:
        assert await anext(pieces) == b"one "
    go_on.set()
    await settling
    kept = await _find(database, request)
    assert (kept.status, kept.response) == (200, b"one two")


async def test_what_ends_a_stream_early_reaches_its_reader_and_is_not_kept(database: Database, actor: Actor) -> None:
    async def source() -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise RuntimeError("broken")

    request = store.RequestKey(actor.organization_id, "stream", "POST /somewhere")
    async with database.write(actor.organization_id) as session:
        assert await store.claim(session, request, b"x")
    recording = Recording(source())
    settling = asyncio.create_task(recording.settle(Response(), database, request))
    async with aclosing(recording.read()) as pieces:
        assert await anext(pieces) == b"one"
        with pytest.raises(RuntimeError, match="broken"):
            await anext(pieces)
    await settling
    assert (await _find(database, request)).status is None


async def _find(database: Database, request: store.RequestKey) -> store.Kept:
    async with database.read(request.organization_id) as session:
        kept = await store.find(session, request)
    assert kept is not None
    return kept
