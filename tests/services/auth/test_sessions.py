"""Being logged in: tokens that are refreshed, copies that are noticed, and ends that are heard of everywhere (S30)."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from agent_factory.database.models import LoginRow, UserRow
from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.kit.ids import decode, encode
from agent_factory.runtime.platform import Platform
from agent_factory.security.tokens import AuthSettings, Tokens
from tests.services.auth.people import Person, join_another, log_in, make_person
from tests.serving import Client, client_of, opened, settings_for

ME = "/api/v1/auth/me"
REFRESH = "/api/v1/auth/refresh"

Pair = dict[str, Any]


@pytest.fixture(scope="module")
async def elsewhere(database_url: str, app: FastAPI) -> AsyncGenerator[Client, None]:
    """Another process of the same installation, which looks at every credential anew."""
    anew = AuthSettings(believed_seconds=0)
    async with opened(settings_for(database_url, auth=anew)) as running:
        shared: Platform = app.state.platform
        # two processes of one installation have one key file
        running.state.credentials.tokens = Tokens(shared.database.pool, shared.vault, anew)
        async with client_of(running) as client:
            yield client


@pytest.fixture
async def person(app: FastAPI) -> Person:
    return await make_person(app)


async def begun(anyone: Client, person: Person, **more: Any) -> Pair:
    answer = await log_in(anyone, person, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refreshed(anyone: Client, pair: Pair, **more: Any) -> httpx2.Response:
    return await anyone.post(REFRESH, json={"refresh_token": pair["refresh_token"], **more})


async def status(client: Client, pair: Pair) -> int:
    return (await client.get(ME, headers=bearer(pair))).status_code


def bearer(pair: Pair) -> dict[str, str]:
    return {"Authorization": f"Bearer {pair['access_token']}"}


async def test_a_refresh_gives_both_tokens_anew_in_the_same_session(anyone: Client, person: Person) -> None:
    first = await begun(anyone, person)
    second = (await refreshed(anyone, first)).json()
    assert second["session_id"] == first["session_id"]
    assert second["refresh_token"] != first["refresh_token"]
    assert await status(anyone, second) == 200
    assert await status(anyone, first) == 200, "an access token lives on until it is old"
    assert (second["token_type"], second["expires_in"]) == ("Bearer", 600)


async def test_a_token_that_comes_back_ends_the_session_for_both(
    anyone: Client, elsewhere: Client, database: Database, person: Person
) -> None:
    """Abuse 16."""
    first = await begun(anyone, person)
    second = (await refreshed(anyone, first)).json()
    again = await refreshed(anyone, first)
    assert (again.status_code, again.json()["code"]) == (401, "invalid_refresh_token")
    assert (await refreshed(anyone, second)).status_code == 401
    for client in (anyone, elsewhere):
        assert await status(client, second) == 401
    rows = await database.pool.fetch(
        "select action, outcome from audit_events where resource = $1", second["session_id"]
    )
    assert ("auth.refresh_reused", "refused") in {(row["action"], row["outcome"]) for row in rows}


async def test_of_many_who_refresh_at_once_one_gets_tokens_and_nobody_is_thrown_out(
    anyone: Client, person: Person
) -> None:
    first = await begun(anyone, person)
    answers = await asyncio.gather(*(refreshed(anyone, first) for _ in range(50)))
    given = [a.json() for a in answers if a.status_code == 200]
    assert len(given) == 1
    assert {a.status_code for a in answers} <= {200, 409}
    assert await status(anyone, given[0]) == 200
    assert (await refreshed(anyone, given[0])).status_code == 200


@pytest.mark.parametrize("token", ["x", "af_refresh", "a" * 200])
async def test_what_is_no_refresh_token_is_refused(anyone: Client, token: str) -> None:
    assert (await anyone.post(REFRESH, json={"refresh_token": token})).status_code == 401


async def test_who_never_had_a_token_of_the_family_can_end_nothing(anyone: Client, person: Person) -> None:
    first = await begun(anyone, person)
    token: str = first["refresh_token"]
    for at in (len("afr_") + 5, token.index("_", 4) + 10):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert (await anyone.post(REFRESH, json={"refresh_token": changed})).status_code == 401
    assert await status(anyone, first) == 200


async def test_an_access_token_is_no_refresh_token(anyone: Client, person: Person) -> None:
    """Abuse 10, the other way round."""
    first = await begun(anyone, person)
    answer = await anyone.post(REFRESH, json={"refresh_token": first["access_token"]})
    assert answer.status_code in (401, 422)


async def test_logging_out_is_heard_of_in_every_process(anyone: Client, elsewhere: Client, person: Person) -> None:
    """Abuse 13, 14."""
    pair, other = await begun(anyone, person), await begun(anyone, person)
    assert await status(elsewhere, pair) == 200
    assert (await anyone.post("/api/v1/auth/logout", headers=bearer(pair))).status_code == 204
    for client in (anyone, elsewhere):
        assert await status(client, pair) == 401
        assert await status(client, other) == 200
    assert (await refreshed(anyone, pair)).status_code == 401


async def test_logging_out_everywhere_ends_all_sessions_of_the_account(
    anyone: Client, elsewhere: Client, person: Person
) -> None:
    pairs = [await begun(anyone, person) for _ in range(3)]
    assert (await anyone.post("/api/v1/auth/logout-everywhere", headers=bearer(pairs[0]))).status_code == 204
    for pair in pairs:
        assert await status(anyone, pair) == 401
        assert await status(elsewhere, pair) == 401
        assert (await refreshed(anyone, pair)).status_code == 401


async def test_a_person_sees_where_he_is_logged_in_and_ends_one(anyone: Client, app: FastAPI, person: Person) -> None:
    mine, other = await begun(anyone, person), await begun(anyone, person)
    strangers = await begun(anyone, await make_person(app))
    listed = (await anyone.get("/api/v1/auth/sessions", headers=bearer(mine))).json()["data"]
    assert [(s["id"], s["current"]) for s in listed] == [(other["session_id"], False), (mine["session_id"], True)]
    path = f"/api/v1/auth/sessions/{strangers['session_id']}"
    assert (await anyone.delete(path, headers=bearer(mine))).status_code == 404
    assert await status(anyone, strangers) == 200
    path = f"/api/v1/auth/sessions/{other['session_id']}"
    assert (await anyone.delete(path, headers=bearer(mine))).status_code == 204
    assert await status(anyone, other) == 401
    assert await status(anyone, mine) == 200


async def test_a_list_of_sessions_holds_nothing_that_opens_one(
    anyone: Client, database: Database, person: Person
) -> None:
    """S202: neither there nor in the table is a token, or what one could be guessed from."""
    pair = await begun(anyone, person)
    shown = (await anyone.get("/api/v1/auth/sessions", headers=bearer(pair))).text
    row = await database.pool.fetchval(
        "select row_to_json(l)::text from logins l where id = $1", decode("lgn", pair["session_id"])
    )
    family, own = pair["refresh_token"][31:74], pair["refresh_token"][75:]
    for secret in (family, own, pair["access_token"].rpartition(".")[2], pair["device"]):
        assert len(secret) > 20
        assert secret not in shown
        assert secret not in row
    assert set((await anyone.get("/api/v1/auth/sessions", headers=bearer(pair))).json()["data"][0]) == {
        "id", "organization_id", "device", "address", "created_at", "refreshed_at", "expires_at", "current",
    }  # fmt: skip


async def test_a_key_has_no_session(client: Client) -> None:
    answer = await client.post("/api/v1/auth/logout")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_session")
    assert (await client.get("/api/v1/auth/sessions")).json()["data"] == []


async def test_a_member_of_two_organisations_changes_over_with_a_refresh(
    anyone: Client, app: FastAPI, person: Person
) -> None:
    second = encode("org", await join_another(app, person))
    pair = await begun(anyone, person, organization_id=encode("org", person.organization_id))
    there = (await refreshed(anyone, pair, organization_id=second)).json()
    assert there["organization_id"] == second
    assert (await anyone.get(ME, headers=bearer(there))).json()["organization_id"] == second
    foreign = encode("org", (await make_person(app)).organization_id)
    assert (await refreshed(anyone, there, organization_id=foreign)).status_code in (403, 404)


@pytest.mark.parametrize("what", ["the person", "the role"])
async def test_what_a_person_may_no_longer_do_is_refused_at_the_next_look(
    anyone: Client, elsewhere: Client, database: Database, person: Person, what: str
) -> None:
    """Abuse 13."""
    pair = await begun(anyone, person)
    body = {"name": f"agent-{encode('agt', person.user_id)[-12:]}", "model": "demo"}
    assert (await elsewhere.post("/api/v1/agents", json=body, headers=bearer(pair))).status_code == 201
    change = {"status": "disabled"} if what == "the person" else {"role": "viewer"}
    async with database.system() as session:
        await session.execute(update(UserRow).where(UserRow.id == person.user_id).values(**change))
    refused = await elsewhere.post("/api/v1/agents", json={**body, "name": "more"}, headers=bearer(pair))
    assert refused.status_code == (401 if what == "the person" else 403)


@pytest.mark.parametrize("when", ["unused for too long", "too old"])
async def test_a_session_ends_by_itself(anyone: Client, database: Database, person: Person, when: str) -> None:
    pair = await begun(anyone, person)
    past = {"expires_at": now() - timedelta(seconds=1)}
    if when == "too old":
        past["created_at"] = now() - timedelta(days=91)
    async with database.system() as session:
        row = update(LoginRow).where(LoginRow.id == decode("lgn", pair["session_id"]))
        await session.execute(row.values(**past))
    assert (await refreshed(anyone, pair)).status_code == 401
