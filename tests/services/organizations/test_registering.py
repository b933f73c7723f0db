"""Registering, and founding more than one organisation (S39, S142, abuse 18)."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import event, text

from agent_factory.database.models import AccountRow
from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.kit.ids import encode, uuid7
from agent_factory.services.organizations.rules import MOST_FOUNDED
from tests.services.organizations.parts import Hire, letters_to, own
from tests.serving import Client, client_of, opened, settings_for

PASSWORD = "a-horse-counts-staples"


def _address() -> str:
    return f"{uuid7().hex}@example.com"


async def _register(anyone: Client, address: str, **more: Any) -> Any:
    body = {"email": address, "password": PASSWORD, "name": "Ada", "organization": "Acme", **more}
    return await anyone.post("/api/v1/auth/register", json=body)


async def _verify(app: FastAPI, database: Database, anyone: Client, address: str) -> None:
    letter = (await letters_to(app, database, address))[-1]
    found = re.search(r"afv_[\w-]+", letter.text)
    assert found is not None, letter.text
    body = {"email": address, "token": found[0], "password": PASSWORD}
    answer = await anyone.post("/api/v1/auth/verify-email", json=body)
    assert answer.status_code in (200, 204), answer.text


async def _login(anyone: Client, app: FastAPI, address: str) -> Client:
    answer = await anyone.post("/api/v1/auth/login", json={"email": address, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return client_of(app, answer.json()["access_token"])


async def test_who_registers_leads_an_organisation_of_his_own(app: FastAPI, database: Database, anyone: Client) -> None:
    address = _address()
    assert (await _register(anyone, address)).status_code == 202
    await _verify(app, database, anyone, address)
    async with await _login(anyone, app, address) as person:
        answer = await person.get("/api/v1/organizations")
        assert answer.status_code == 200, answer.text
        found = answer.json()["data"]
        assert [(o["name"], o["role"], o["status"]) for o in found] == [("Acme", "organization_owner", "active")]
        assert (await person.post("/api/v1/agents", json={"name": "a", "model": "demo"})).status_code == 201


async def test_a_known_address_gets_the_same_answer_and_another_letter(
    app: FastAPI, database: Database, anyone: Client
) -> None:
    """Abuse 18."""
    known, unknown = _address(), _address()
    await _register(anyone, known)
    await _verify(app, database, anyone, known)
    before = await _rows(database)
    answers = [await _register(anyone, each) for each in (known, unknown)]
    assert {a.status_code for a in answers} == {202}
    assert answers[0].content == answers[1].content
    letters = [(await letters_to(app, database, each))[-1] for each in (known, unknown)]
    assert "already" in letters[0].text
    assert "afv_" in letters[1].text
    after = await _rows(database)
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]  # what the unknown one made


async def _rows(database: Database) -> list[int]:
    async with database.system() as session:
        counts = [text(f"select count(*) from {table}") for table in ("accounts", "users", "organizations")]  # noqa: S608 - literal names
        return [await session.scalar(count) or 0 for count in counts]


async def test_who_registers_twice_before_verifying_has_one_organisation_and_the_newest_password(
    app: FastAPI, database: Database, anyone: Client
) -> None:
    address = _address()
    await _register(anyone, address, password="the-first-password-tried")
    await _register(anyone, address)
    await _verify(app, database, anyone, address)
    async with await _login(anyone, app, address) as person:
        assert len((await person.get("/api/v1/organizations")).json()["data"]) == 1


@pytest.mark.parametrize("password", ["short", "password1234", "x" * 1025])
async def test_a_weak_or_endless_password_is_refused(anyone: Client, password: str) -> None:
    refused = await _register(anyone, _address(), password=password)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/password"
    assert password not in refused.text


@pytest.mark.parametrize("registration", ["invited", "closed", None])
async def test_registering_is_closed_unless_it_was_opened(
    database: Database, database_url: str, registration: str | None
) -> None:
    more = {} if registration is None else {"auth": {"registration": registration}}
    async with opened(settings_for(database_url, **more)) as app, client_of(app) as anyone:
        before = await _rows(database)
        refused = await _register(anyone, _address())
        assert (refused.status_code, refused.json()["code"]) == (404, "registration_closed")
        assert await _rows(database) == before


async def _with_account(database: Database, client: Client) -> None:
    account = AccountRow(id=uuid7(), email=_address(), name="Ada", verified_at=now())
    async with database.system() as session:
        session.add(account)
        await session.flush()
        linked = text("update users set account_id = :account where id = :id")
        await session.execute(linked, {"account": account.id, "id": client.actor.user_id})


async def test_another_organisation_is_founded_listed_and_apart(database: Database, client: Client) -> None:
    await _with_account(database, client)
    await client.create_agent("mine")
    made = await client.post("/api/v1/organizations", json={"name": "Second"})
    assert made.status_code == 201
    assert (await client.get(made.headers["location"])).json() == made.json()
    listed = (await client.get("/api/v1/organizations")).json()["data"]
    assert [o["name"] for o in listed][:1] == ["Second"]
    assert {o["id"] for o in listed} == {made.json()["id"], own(client).rpartition("/")[2]}
    first = (await client.get("/api/v1/organizations", params={"limit": 1})).json()
    rest = (await client.get("/api/v1/organizations", params={"cursor": first["next_cursor"]})).json()
    assert first["data"] + rest["data"] == listed
    # to act in it one logs in to it: a key stays in its own
    assert (await client.patch(made.headers["location"], json={"name": "x"})).status_code == 404


async def test_a_narrowed_key_sees_its_own_organisation_alone_and_founds_none(
    database: Database, client: Client
) -> None:
    await _with_account(database, client)
    await client.post("/api/v1/organizations", json={"name": "Second"})
    async with database.system() as session:
        narrow = text("update api_keys set scopes = '{agent:read}' where user_id = :id")
        await session.execute(narrow, {"id": client.actor.user_id})
    listed = (await client.get("/api/v1/organizations")).json()["data"]
    assert [o["id"] for o in listed] == [own(client).rpartition("/")[2]]
    assert (await client.post("/api/v1/organizations", json={"name": "Third"})).status_code == 403
    assert (await client.post(f"{own(client)}:leave")).status_code == 403


async def test_one_person_leads_a_bounded_number_of_organisations(database: Database, client: Client) -> None:
    await _with_account(database, client)
    for number in range(MOST_FOUNDED - 1):
        assert (await client.post("/api/v1/organizations", json={"name": f"o{number}"})).status_code == 201
    refused = await client.post("/api/v1/organizations", json={"name": "one too many"})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_organizations")


async def test_who_has_no_account_founds_nothing(client: Client) -> None:
    refused = await client.post("/api/v1/organizations", json={"name": "Second"})
    assert (refused.status_code, refused.json()["code"]) == (409, "account_needed")


async def test_a_membership_that_is_disabled_is_not_listed(
    database: Database, client: Client, hire: Hire, stranger: Client
) -> None:
    await _with_account(database, client)
    elsewhere = await hire(stranger, "viewer", status="disabled")
    async with database.system() as session:
        account = await session.scalar(
            text("select account_id from users where id = :id"), {"id": client.actor.user_id}
        )
        linked = text("update users set account_id = :account where id = :id")
        await session.execute(linked, {"account": account, "id": elsewhere.actor.user_id})
    listed = (await client.get("/api/v1/organizations")).json()["data"]
    assert [o["id"] for o in listed] == [encode("org", client.actor.organization_id)]


async def test_a_known_address_takes_the_work_of_an_unknown_one(
    app: FastAPI, database: Database, anyone: Client
) -> None:
    """Abuse 18: what takes as many statements and hashes takes as long; also for who has not confirmed yet."""
    known, waiting = _address(), _address()
    await _register(anyone, known)
    await _verify(app, database, anyone, known)
    await _register(anyone, waiting)
    counts: list[int] = []
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    engine = app.state.platform.database._system.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        for address in (known, waiting, _address()):
            statements.clear()
            await _register(anyone, address)
            counts.append(len(statements))
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert all(abs(each - counts[-1]) <= 2 for each in counts), counts
    assert min(counts) > 5
