"""Closing one's own account: out of every organisation at once, and never out of the last one's lead (S31)."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.kit.ids import encode
from agent_factory.services.auth import service as auth
from tests.services.auth.people import (
    CHEAP,
    OTHER_PASSWORD,
    PASSWORD,
    Person,
    code_of,
    join_another,
    letters_to,
    log_in,
    make_person,
    platform_of,
    signed_in,
    with_second_factor,
)
from tests.serving import Client, client_of, opened, settings_for

CLOSE = "/api/v1/auth/account:close"
ME = "/api/v1/auth/me"


@pytest.fixture(scope="module")
async def app(database_url: str) -> AsyncGenerator[FastAPI, None]:
    passwords = CHEAP.model_copy(update={"wrong_from_address": 1_000_000})
    settings = settings_for(database_url, passwords=passwords, auth={"believed_seconds": 0, "registration": "invited"})
    async with opened(settings) as running:
        yield running


async def join(app: FastAPI, person: Person, other: Person, role: str) -> None:
    async with platform_of(app).database.system() as session:
        await auth.add_user(
            session, person.organization_id, email=other.email, name="Eve", role=role, account_id=other.account_id
        )


async def test_who_closes_his_account_is_out_everywhere(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    await join_another(app, person)
    own, elsewhere = [await signed_in(app, anyone, person) for _ in range(2)]
    key = (await own.post("/api/v1/api-keys", json={"name": "mine"})).json()["key"]
    wrong = await log_in(anyone, person, OTHER_PASSWORD)
    answer = await own.post(CLOSE, json={"password": PASSWORD}, headers={"Idempotency-Key": "once"})
    assert answer.status_code == 204, answer.text
    for client in (own, elsewhere, client_of(app, key)):
        assert (await client.get(ME)).status_code == 401
    late = await log_in(anyone, person)
    assert (late.status_code, late.json()["detail"]) == (wrong.status_code, wrong.json()["detail"])
    assert (await letters_to(app, person.email))[-1].subject.endswith("was closed")
    pool = platform_of(app).database.pool
    assert await pool.fetchval("select count(*) from users where account_id = $1", person.account_id) == 0
    rows = await pool.fetch("select organization_id from audit_events where action = 'auth.account_closed'")
    assert person.organization_id in {row["organization_id"] for row in rows}


async def test_a_process_that_closed_an_account_believes_it_no_longer(database_url: str) -> None:
    async with opened(settings_for(database_url, passwords=CHEAP)) as app, client_of(app) as anyone:
        person = await make_person(app)
        own = await signed_in(app, anyone, person)
        key = client_of(app, (await own.post("/api/v1/api-keys", json={"name": "mine"})).json()["key"])
        assert [(await each.get(ME)).status_code for each in (own, key)] == [200, 200]
        assert (await own.post(CLOSE, json={"password": PASSWORD})).status_code == 204
        assert [(await each.get(ME)).status_code for each in (own, key)] == [401, 401]


async def test_the_last_owner_of_any_organisation_stays(app: FastAPI, anyone: Client) -> None:
    """Abuse 47: nothing of it happens, not even in the organisations that could do without him."""
    person, other = await make_person(app, role="organization_owner"), await make_person(app)
    await join(app, other, person, "viewer")
    own = await signed_in(app, anyone, person, organization_id=encode("org", other.organization_id))
    refused = await own.post(CLOSE, json={"password": PASSWORD})
    assert (refused.status_code, refused.json()["code"]) == (409, "last_owner")
    assert (await own.get(ME)).status_code == 200
    assert len((await log_in(anyone, person)).json()["organizations"]) == 2
    await join(app, person, other, "organization_owner")
    assert (await own.post(CLOSE, json={"password": PASSWORD})).status_code == 204


async def test_of_two_owners_who_close_their_accounts_at_once_one_stays(app: FastAPI, anyone: Client) -> None:
    """Also where each leads an organisation of the other: nobody waits for ever."""
    for _ in range(5):
        one, two = [await make_person(app, role="organization_owner") for _ in range(2)]
        await join(app, one, two, "organization_owner")
        await join(app, two, one, "organization_owner")
        clients = [await signed_in(app, anyone, each) for each in (one, two)]
        answers = await asyncio.gather(*(each.post(CLOSE, json={"password": PASSWORD}) for each in clients))
        assert sorted(each.status_code for each in answers) == [204, 409]


async def test_a_wrong_password_closes_nothing_and_is_not_guessed_without_end(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    own = await signed_in(app, anyone, person)
    answers = [await own.post(CLOSE, json={"password": OTHER_PASSWORD}) for _ in range(11)]
    assert [each.status_code for each in answers] == [403] * 10 + [429]
    assert (await own.get(ME)).status_code == 200


async def test_a_second_factor_is_asked_for(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    own = await signed_in(app, anyone, person)
    secret, codes = await with_second_factor(own)
    for _ in range(6):
        assert (await own.post(CLOSE, json={"password": PASSWORD})).json()["code"] == "otp_required"
    assert (await own.post(CLOSE, json={"password": PASSWORD, "otp": "000000"})).json()["code"] == "otp_refused"
    assert (await own.post(CLOSE, json={"password": PASSWORD, "otp": codes[0] + "x"})).json()["code"] == "otp_refused"
    assert (await own.post(CLOSE, json={"password": PASSWORD, "otp": code_of(secret)})).status_code == 204


async def test_a_narrow_key_does_not_close_the_account_of_its_owner(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    own = await signed_in(app, anyone, person)
    narrow = (await own.post("/api/v1/api-keys", json={"name": "x", "scopes": ["agent:read"]})).json()["key"]
    assert (await client_of(app, narrow).post(CLOSE, json={"password": PASSWORD})).status_code == 403


async def test_a_service_has_no_account_to_close(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app, role="admin")
    own = await signed_in(app, anyone, person)
    made = await own.post("/api/v1/api-keys", json={"name": "x", "kind": "service", "scopes": ["*"]})
    refused = await client_of(app, made.json()["key"]).post(CLOSE, json={"password": PASSWORD})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_account")


async def test_a_closed_account_is_not_invited_back_and_founds_nothing(app: FastAPI, anyone: Client) -> None:
    """Only the operator enables it; then it is a member of nothing, and can be invited again."""
    person, owner = await make_person(app), await make_person(app, role="organization_owner")
    own, leader = await signed_in(app, anyone, person), await signed_in(app, anyone, owner)
    assert (await own.post(CLOSE, json={"password": PASSWORD})).status_code == 204
    path = f"/api/v1/organizations/{encode('org', owner.organization_id)}/invitations"
    assert (await leader.post(path, json={"email": person.email})).status_code == 201
    text = (await letters_to(app, person.email))[-1].text
    token = text.partition("member accept ")[2].split()[0]
    refused = await anyone.post("/api/v1/auth/accept-invitation", json={"token": token, "password": OTHER_PASSWORD})
    assert (refused.status_code, refused.json()["code"]) == (409, "account_disabled")
    platform = platform_of(app)
    async with platform.database.system() as session:
        await auth.enable_account(session, platform.mail, email=person.email)
    assert (await log_in(anyone, person)).json()["code"] == "not_a_member"
    assert (await anyone.post("/api/v1/auth/accept-invitation", json={"token": token})).status_code == 201
    assert (await log_in(anyone, person)).status_code == 200


async def test_what_a_disabled_owner_promised_lets_nobody_in(app: FastAPI, anyone: Client) -> None:
    owner = await make_person(app, role="organization_owner")
    leader = await signed_in(app, anyone, owner)
    email = f"new-{owner.user_id}@example.com"
    path = f"/api/v1/organizations/{encode('org', owner.organization_id)}/invitations"
    assert (await leader.post(path, json={"email": email})).status_code == 201
    token = (await letters_to(app, email))[-1].text.partition("member accept ")[2].split()[0]
    platform = platform_of(app)
    async with platform.database.system() as session:
        await auth.disable_account(session, platform.mail, email=owner.email)
    body = {"token": token, "password": OTHER_PASSWORD}
    assert (await anyone.post("/api/v1/auth/accept-invitation", json=body)).json()["code"] == "invitation_invalid"
    async with platform.database.system() as session:
        await auth.enable_account(session, platform.mail, email=owner.email)
    assert (await anyone.post("/api/v1/auth/accept-invitation", json=body)).status_code == 201


async def test_a_password_that_was_changed_meanwhile_closes_nothing(
    app: FastAPI, anyone: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knew the old one began before the owner changed it."""
    person = await make_person(app)
    thief, own = [await signed_in(app, anyone, person) for _ in range(2)]
    passwords = platform_of(app).passwords
    check = passwords.check

    async def slow(*args: Any) -> Any:
        checked = await check(*args)
        with monkeypatch.context() as patch:
            patch.setattr(passwords, "check", check)
            body = {"current_password": PASSWORD, "password": OTHER_PASSWORD}
            assert (await own.post("/api/v1/auth/password", json=body)).status_code == 204
        return checked

    with monkeypatch.context() as patch:
        patch.setattr(passwords, "check", slow)
        assert (await thief.post(CLOSE, json={"password": PASSWORD})).json()["code"] == "wrong_password"
    assert (await log_in(anyone, person, OTHER_PASSWORD)).status_code == 200
