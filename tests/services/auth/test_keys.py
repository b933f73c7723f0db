"""API keys: made once, listed without their secret, verified fast, refused soon after they are revoked."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import event, update

from agent_factory.database.models import ApiKeyRow, UserRow
from agent_factory.database.session import Database
from agent_factory.kit.clock import now, rfc3339
from agent_factory.kit.ids import encode
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.security.encryption import Vault
from agent_factory.security.tokens import AuthSettings, Tokens
from agent_factory.services.auth import service
from agent_factory.services.auth.errors import BadKey
from agent_factory.services.auth.rules.keys import key_hash, key_prefix, make_key
from agent_factory.services.auth.service import verifying
from tests.serving import Client, client_of, key_for

NewRing = Callable[[], service.Credentials]

WRONG = {
    "nothing": "",
    "another scheme": "Basic YTpi",
    "no secret": "Bearer ",
    "not a key": "Bearer hello",
    "sql in it": "Bearer af_' OR 1=1--",
    "a key that never was": "Bearer af_000000000000_" + "a" * 43,
    "a secret that is too short": "Bearer af_000000000000_" + "a" * 42,
    "a vendor's key": "Bearer sk-" + "a" * 40,
    "two words": "Bearer a b",
    "non-ascii": "Bearer af_é",
    "long": "Bearer " + "a" * 10_000,
}


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG.keys())
async def test_wrong_credentials_are_401_and_say_no_more(anyone: Client, header: str) -> None:
    """Abuse 1, 11, 12."""
    answer = await anyone.get("/api/v1/agents", headers={b"Authorization": header.encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_two_authorization_headers_are_refused_unread(anyone: Client, client: Client) -> None:
    headers = [("Authorization", f"Bearer {client.key}"), ("Authorization", "Bearer x")]
    assert (await anyone.get("/api/v1/agents", headers=headers)).status_code == 400


async def test_a_right_prefix_with_a_wrong_secret_is_refused(anyone: Client, client: Client) -> None:
    prefix = key_prefix(client.key)
    answer = await anyone.get("/api/v1/agents", headers={"Authorization": f"Bearer {prefix}_{'a' * 43}"})
    assert answer.status_code == 401


def test_keys_are_unlike_each_other_and_only_their_hash_is_kept() -> None:
    made = [make_key() for _ in range(1000)]
    assert len({k.secret for k in made}) == len({k.prefix for k in made}) == 1000
    for key in made[:10]:
        assert key_prefix(key.secret) == key.prefix
        assert key_hash(key.secret) == key.hash
        assert len(key.secret.rpartition(key.prefix + "_")[2]) == 43


async def test_a_new_key_shows_its_secret_once_and_works(app: FastAPI, client: Client) -> None:
    made = await client.post("/api/v1/api-keys", json={"name": "ci"})
    assert made.status_code == 201
    key = made.json()["key"]
    assert key.startswith(made.json()["prefix"] + "_")
    assert made.headers["location"] == f"/api/v1/api-keys/{made.json()['id']}"
    shown = await client.get(made.headers["location"])
    assert "key" not in shown.json()
    assert key not in (await client.get("/api/v1/api-keys")).text
    async with client_of(app, key) as other:
        me = (await other.get("/api/v1/auth/me")).json()
    assert me["key_id"] == made.json()["id"]
    assert me["user"]["role"] == "organization_owner"


async def test_the_database_holds_no_secret(client: Client, database: Database) -> None:
    """S202."""
    made = (await client.post("/api/v1/api-keys", json={"name": "ci"})).json()
    secret = made["key"].removeprefix(made["prefix"])
    rows = await database.pool.fetch("select row_to_json(k)::text as text from api_keys k")
    assert rows
    assert all(secret not in row["text"] for row in rows)


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "x" * 256}, {"name": 1}, {"name": "x", "scopes": ["everything"]}, [], "x", None]
)
async def test_a_key_that_is_not_described_properly_is_not_made(client: Client, body: object) -> None:
    assert (await client.post("/api/v1/api-keys", json=body)).status_code == 422
    assert len((await client.get("/api/v1/api-keys")).json()["data"]) == 1


@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00", "tomorrow"])
async def test_a_key_that_would_never_work_is_not_made(client: Client, moment: str) -> None:
    answer = await client.post("/api/v1/api-keys", json={"name": "x", "expires_at": moment})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/expires_at"


@pytest.fixture
def new_ring(database: Database, vault: Vault) -> NewRing:
    """Make what verifies in another process, which has seen nobody yet."""
    return lambda: service.Credentials(database, Tokens(database.pool, vault, AuthSettings()))


async def test_an_expired_key_is_refused(new_ring: NewRing, client: Client, database: Database, actor: Actor) -> None:
    soon = {"name": "x", "expires_at": rfc3339(now() + timedelta(hours=1))}
    made = (await client.post("/api/v1/api-keys", json=soon)).json()
    ring = new_ring()
    assert (await ring.verify(made["key"])).organization_id == actor.organization_id
    past = datetime(2020, 1, 1, tzinfo=UTC)
    async with database.write(actor.organization_id) as session:
        await session.execute(update(ApiKeyRow).where(ApiKeyRow.prefix == made["prefix"]).values(expires_at=past))
    with pytest.raises(BadKey):
        await new_ring().verify(made["key"])
    await ring.close()


async def test_a_revoked_key_is_refused_by_every_process_that_does_not_remember_it(
    new_ring: NewRing, client: Client, database: Database
) -> None:
    """Abuse 13: the memory of any process is 5 seconds long."""
    made = (await client.post("/api/v1/api-keys", json={"name": "x"})).json()
    assert (await client.delete(f"/api/v1/api-keys/{made['id']}")).status_code == 204
    assert (await client.delete(f"/api/v1/api-keys/{made['id']}")).status_code == 204
    assert (await client.get(f"/api/v1/api-keys/{made['id']}")).json()["revoked_at"]
    with pytest.raises(BadKey):
        await new_ring().verify(made["key"])


async def test_a_verified_key_is_believed_for_five_seconds_and_no_longer(
    new_ring: NewRing, client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 1000.0
    monkeypatch.setattr(verifying.time, "monotonic", lambda: clock)
    made = (await client.post("/api/v1/api-keys", json={"name": "x"})).json()
    ring = new_ring()
    await ring.verify(made["key"])
    await client.delete(f"/api/v1/api-keys/{made['id']}")
    clock += 4.9
    await ring.verify(made["key"])
    clock += 0.2
    with pytest.raises(BadKey):
        await ring.verify(made["key"])
    await ring.close()


async def test_a_hundred_requests_at_once_ask_the_database_once(
    new_ring: NewRing, database: Database, actor: Actor
) -> None:
    key = await key_for(database, actor)
    ring = new_ring()
    statements: Counter[str] = Counter()

    def count(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "FROM api_keys" in statement:
            statements["look"] += 1

    engine = database._system.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    try:
        actors = await asyncio.gather(*(ring.verify(key) for _ in range(100)))
    finally:
        event.remove(engine, "before_cursor_execute", count)
    await ring.close()
    assert statements["look"] == 1
    assert {a.organization_id for a in actors} == {actor.organization_id}


async def test_the_last_use_is_noted_once_a_minute(new_ring: NewRing, database: Database, actor: Actor) -> None:
    key = await key_for(database, actor)
    ring = new_ring()
    await ring.verify(key)
    await ring.close()
    async with database.read(actor.organization_id) as session:
        first = (await service.list_keys(session, actor, 10, None)).data[0].last_used_at
    assert first is not None
    again = new_ring()
    await again.verify(key)
    await again.close()
    async with database.read(actor.organization_id) as session:
        assert (await service.list_keys(session, actor, 10, None)).data[0].last_used_at == first


async def test_keys_come_in_pages_newest_first(client: Client) -> None:
    for n in range(5):
        await client.post("/api/v1/api-keys", json={"name": f"k{n}"})
    names: list[str] = []
    cursor = None
    while True:
        page = (
            await client.get("/api/v1/api-keys", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        ).json()
        names += [k["name"] for k in page["data"]]
        assert len(page["data"]) <= 2
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert names == ["k4", "k3", "k2", "k1", "k0", "test"]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"limit": -1}, {"cursor": "nonsense"}, {"cursor": "x" * 65}]
)
async def test_a_page_that_cannot_be_is_422(client: Client, query: dict[str, str]) -> None:
    answer = await client.get("/api/v1/api-keys", params=query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].endswith(next(iter(query)))


async def keyed(client: Client, app: FastAPI, **wanted: Any) -> Client:
    """A client with a new key of the same person, or of a service."""
    made = await client.post("/api/v1/api-keys", json={"name": "another", **wanted})
    assert made.status_code == 201, made.text
    return client_of(app, made.json()["key"])


async def test_a_key_does_what_its_scopes_say_and_no_more(client: Client, app: FastAPI) -> None:
    """S43."""
    async with await keyed(client, app, scopes=["agent:read"]) as reader:
        assert (await reader.get("/api/v1/agents")).status_code == 200
        refused = await reader.post("/api/v1/agents", json={"name": "a", "model": "demo"})
        assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")


async def test_a_key_makes_no_key_that_does_more(client: Client, app: FastAPI) -> None:
    """Abuse 46."""
    async with await keyed(client, app, scopes=["apikey:*", "agent:read"]) as narrow:
        for scopes in (["*"], ["agent:*"], ["agent:edit"]):
            refused = await narrow.post("/api/v1/api-keys", json={"name": "more", "scopes": scopes})
            assert refused.status_code == 403, refused.text
        made = await narrow.post("/api/v1/api-keys", json={"name": "same"})
        assert made.json()["scopes"] == ["agent:read", "apikey:*"]


async def test_a_services_key_needs_scopes_and_is_nobodys(client: Client, app: FastAPI) -> None:
    assert (await client.post("/api/v1/api-keys", json={"name": "x", "kind": "service"})).status_code == 422
    async with await keyed(client, app, kind="service", scopes=["agent:read"]) as service_client:
        me = (await service_client.get("/api/v1/auth/me")).json()
        assert me["user"]["id"] != (await client.get("/api/v1/auth/me")).json()["user"]["id"]
        assert (await service_client.get("/api/v1/agents")).status_code == 200
        assert (await service_client.post("/api/v1/agents", json={"name": "a", "model": "demo"})).status_code == 403
    listed = (await client.get("/api/v1/api-keys", params={"mine": "true"})).json()["data"]
    assert {key["kind"] for key in listed} == {"personal"}


async def test_a_key_that_expires_makes_none_that_outlives_it(client: Client, app: FastAPI) -> None:
    """Abuse 46: what was lent for an hour is not handed on for ever."""
    end = rfc3339(now() + timedelta(hours=1))
    async with await keyed(client, app, expires_at=end) as lent:
        made = await lent.post("/api/v1/api-keys", json={"name": "another"})
        assert made.json()["expires_at"] == end
        service_key = {"name": "x", "kind": "service", "scopes": ["agent:read"]}
        assert (await lent.post("/api/v1/api-keys", json=service_key)).json()["expires_at"] == end
        later = rfc3339(now() + timedelta(hours=2))
        refused = await lent.post("/api/v1/api-keys", json={"name": "x", "expires_at": later})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/expires_at")
        sooner = rfc3339(now() + timedelta(minutes=2))
        assert (await lent.post("/api/v1/api-keys", json={"name": "x", "expires_at": sooner})).status_code == 201
    assert (await client.post("/api/v1/api-keys", json={"name": "x"})).json()["expires_at"] is None


async def test_a_key_is_not_believed_beyond_its_end(new_ring: NewRing, client: Client) -> None:
    soon = rfc3339(now() + timedelta(seconds=2))
    made = await client.post("/api/v1/api-keys", json={"name": "x", "expires_at": soon})
    ring = new_ring()
    await ring.verify(made.json()["key"])
    (known,) = ring._verified.values()
    assert known.until - time.monotonic() <= 2
    await ring.close()


async def test_a_key_follows_the_rights_of_its_owner_and_a_services_key_its_scopes(
    new_ring: NewRing, client: Client, database: Database, actor: Actor
) -> None:
    """Abuse 13: in two processes that know both, once what they believe is over."""
    wide = {"name": "x", "scopes": ["agent:*"]}
    mine = (await client.post("/api/v1/api-keys", json=wide)).json()["key"]
    services = (await client.post("/api/v1/api-keys", json={**wide, "kind": "service"})).json()["key"]
    async with database.system() as session:
        await session.execute(update(UserRow).where(UserRow.id == actor.user_id).values(role="viewer"))
    for ring in (new_ring(), new_ring()):
        assert not rbac.may(await ring.verify(mine), "agent:create")
        assert rbac.may(await ring.verify(mine), "agent:read")
        assert rbac.may(await ring.verify(services), "agent:create"), "it is the service's own"
        assert not rbac.may(await ring.verify(services), "workflow:read")
        await ring.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/api-keys", {"name": "kept"}),
        ("/api/v1/organizations/{organization}/invitations", {"email": "eve@example.com", "role": "admin"}),
        ("/api/v1/organizations/{organization}/teams", {"name": "kept"}),
        ("/api/v1/roles", {"name": "kept", "rights": ["agent:read"]}),
    ],
)
async def test_a_revoked_key_that_is_still_believed_makes_nothing_that_lasts(
    client: Client, app: FastAPI, database: Database, path: str, body: dict[str, Any]
) -> None:
    """Abuse 13: five seconds are enough to look around, and not to come back."""
    async with await keyed(client, app) as stolen:
        assert (await stolen.get("/api/v1/auth/me")).status_code == 200
        async with database.system() as session:  # as another process does
            whose = ApiKeyRow.user_id == client.actor.user_id
            await session.execute(update(ApiKeyRow).where(whose, ApiKeyRow.name == "another").values(revoked_at=now()))
        assert (await stolen.get("/api/v1/auth/me")).status_code == 200, "it is still believed here"
        there = path.format(organization=encode("org", client.actor.organization_id))
        assert (await stolen.post(there, json=body)).status_code == 401
        assert (await stolen.get("/api/v1/auth/me")).status_code == 401, "and not any more"
        assert (await client.post(there, json=body)).status_code == 201, "nothing else kept it out"
