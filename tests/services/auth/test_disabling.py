"""An account that the operator disables lets nobody in anywhere, until he enables it (S31; abuse 13)."""

from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI

from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem
from agent_factory.kit.ids import uuid7
from agent_factory.security.tokens import AuthSettings
from agent_factory.services.auth import service
from agent_factory.services.auth.errors import AccountNotFound, BadKey
from agent_factory.services.auth.service import Credentials, verifying
from tests.services.auth.people import (
    CHEAP,
    OTHER_PASSWORD,
    PASSWORD,
    Person,
    join_another,
    letters_to,
    log_in,
    make_person,
    platform_of,
    signed_in,
    token_to,
)
from tests.serving import Client, client_of, opened, settings_for

ME = "/api/v1/auth/me"
REFRESH = "/api/v1/auth/refresh"


@pytest.fixture(scope="module")
async def app(database_url: str) -> AsyncGenerator[FastAPI, None]:
    """A process that looks at every credential anew."""
    passwords = CHEAP.model_copy(update={"wrong_from_address": 1_000_000})
    auth = {"believed_seconds": 0, "registration": "open"}
    async with opened(settings_for(database_url, passwords=passwords, auth=auth)) as running:
        yield running


async def disable(app: FastAPI, email: str) -> Sequence[UUID]:
    """What `agent-factory account disable` does."""
    platform = platform_of(app)
    async with platform.database.system() as session:
        return await service.disable_account(session, platform.mail, email=email)


async def enable(app: FastAPI, email: str) -> None:
    platform = platform_of(app)
    async with platform.database.system() as session:
        await service.enable_account(session, platform.mail, email=email)


async def events(app: FastAPI, person: Person) -> list[tuple[str, UUID]]:
    rows = await platform_of(app).database.pool.fetch(
        "select action, organization_id from audit_events where user_id = $1 and action like 'auth.account%'"
        " order by id",
        person.user_id,
    )
    return [(row["action"], row["organization_id"]) for row in rows]


def told(answer: Any) -> Any:
    return answer.status_code, {k: v for k, v in answer.json().items() if k != "request_id"}


async def test_neither_sessions_nor_keys_nor_passwords_of_a_disabled_account_work(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    await join_another(app, person)
    own = await signed_in(app, anyone, person)
    pair = (await log_in(anyone, person)).json()
    key = (await own.post("/api/v1/api-keys", json={"name": "mine"})).json()["key"]
    wrong = await log_in(anyone, person, OTHER_PASSWORD)
    await disable(app, person.email.upper())
    assert (await own.get(ME)).status_code == 401
    assert (await client_of(app, key).get(ME)).status_code == 401
    assert (await anyone.post(REFRESH, json={"refresh_token": pair["refresh_token"]})).status_code == 401
    assert told(await log_in(anyone, person)) == told(wrong), "the right password looks like a wrong one"
    await own.aclose()


async def test_an_enabled_account_is_as_before_but_for_its_sessions(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    own = await signed_in(app, anyone, person)
    key = (await own.post("/api/v1/api-keys", json={"name": "mine"})).json()["key"]
    await disable(app, person.email)
    await enable(app, person.email)
    assert (await own.get(ME)).status_code == 401
    assert (await client_of(app, key).get(ME)).status_code == 200
    assert (await log_in(anyone, person)).status_code == 200
    await own.aclose()


async def test_no_letter_lets_a_disabled_person_in_again(app: FastAPI, anyone: Client) -> None:
    """Neither one from before, nor one that is asked for now."""
    person = await make_person(app)
    await anyone.post("/api/v1/auth/forgot-password", json={"email": person.email})
    token = await token_to(app, person.email)
    await disable(app, person.email)
    body = {"email": person.email, "token": token, "password": OTHER_PASSWORD}
    assert (await anyone.post("/api/v1/auth/reset-password", json=body)).json()["code"] == "invalid_token"
    before = len(await letters_to(app, person.email))
    assert (await anyone.post("/api/v1/auth/forgot-password", json={"email": person.email})).status_code == 202
    assert (await anyone.post("/api/v1/auth/resend-verification", json={"email": person.email})).status_code == 202
    assert len(await letters_to(app, person.email)) == before
    assert (await log_in(anyone, person, OTHER_PASSWORD)).status_code == 401


async def test_an_address_that_waits_for_its_confirmation_can_be_disabled_too(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app, verified=False)
    await anyone.post("/api/v1/auth/resend-verification", json={"email": person.email})
    token = await token_to(app, person.email)
    await disable(app, person.email)
    body = {"email": person.email, "token": token, "password": PASSWORD}
    assert (await anyone.post("/api/v1/auth/verify-email", json=body)).json()["code"] == "invalid_token"
    again = {"email": person.email, "password": OTHER_PASSWORD}
    assert (await anyone.post("/api/v1/auth/register", json=again)).status_code == 202
    body = {"email": person.email, "token": await token_to(app, person.email), "password": OTHER_PASSWORD}
    assert (await anyone.post("/api/v1/auth/verify-email", json=body)).json()["code"] == "invalid_token"
    assert (await log_in(anyone, person, OTHER_PASSWORD)).status_code == 401


async def test_who_registers_a_disabled_address_learns_by_mail_whom_to_ask(app: FastAPI, anyone: Client) -> None:
    """Abuse 18: the answer is the one that everybody gets."""
    person = await make_person(app)
    await disable(app, person.email)
    answers = [
        await anyone.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
        for email in (person.email, f"new-{uuid7().hex}@example.com")
    ]
    assert told(answers[0]) == told(answers[1])
    letter = (await letters_to(app, person.email))[-1]
    assert "operator" in letter.text
    assert "forgot-password" not in letter.text


async def test_its_owner_and_its_organisations_are_told(app: FastAPI) -> None:
    person = await make_person(app)
    second = await join_another(app, person)
    await disable(app, person.email)
    await disable(app, person.email)
    await enable(app, person.email)
    await enable(app, person.email)
    subjects = [each.subject for each in await letters_to(app, person.email)]
    assert [each.rpartition(" ")[2] for each in subjects] == ["disabled", "enabled"]
    assert await events(app, person) == [
        ("auth.account_disabled", person.organization_id),
        ("auth.account_enabled", person.organization_id),
    ]
    of_second = await platform_of(app).database.pool.fetchval(
        "select count(*) from audit_events where organization_id = $1 and action like 'auth.account%'", second
    )
    assert of_second == 2


async def test_the_operator_is_told_who_has_nobody_to_lead_it(app: FastAPI) -> None:
    person = await make_person(app, role="organization_owner")
    await join_another(app, person)
    assert await disable(app, person.email) == [person.organization_id]


async def test_what_nobody_has_is_not_found(app: FastAPI) -> None:
    with pytest.raises(AccountNotFound):
        await disable(app, "nobody@example.com")
    with pytest.raises(AccountNotFound):
        await enable(app, "nobody@example.com")


async def test_a_disabled_owner_does_not_count_as_one_who_leads(app: FastAPI, anyone: Client) -> None:
    """Abuse 47: the other one cannot leave, and the operator's return of the first lets him."""
    owner, other = [await make_person(app, role="organization_owner") for _ in range(2)]
    async with platform_of(app).database.system() as session:
        await service.add_user(
            session,
            owner.organization_id,
            email=other.email,
            name="Eve",
            role="organization_owner",
            account_id=other.account_id,
        )
    own = await signed_in(app, anyone, owner)
    await disable(app, other.email)
    path = f"/api/v1/organizations/{(await own.get(ME)).json()['organization_id']}"
    listed = (await own.get(f"{path}/members")).json()["data"]
    assert {each["email"]: each["account_disabled"] for each in listed} == {owner.email: False, other.email: True}
    refused = await own.post(f"{path}:leave")
    assert (refused.status_code, refused.json()["code"]) == (409, "last_owner")
    await enable(app, other.email)
    assert (await own.post(f"{path}:leave")).status_code == 204
    await own.aclose()


async def test_what_a_process_still_believes_of_a_disabled_person_makes_nothing_that_lasts(database_url: str) -> None:
    """Neither a key, nor a password, nor an invitation outlives the five seconds of belief."""
    settings = settings_for(database_url, passwords=CHEAP, auth=AuthSettings(believed_seconds=5))
    async with opened(settings) as app, client_of(app) as anyone:
        person = await make_person(app, role="organization_owner")
        own = await signed_in(app, anyone, person)
        me = (await own.get(ME)).json()
        await disable(app, person.email)
        assert (await own.get(ME)).status_code == 200, "it is still believed here"
        asked = [
            await own.post("/api/v1/api-keys", json={"name": "x", "kind": "service", "scopes": ["agent:read"]}),
            await own.post("/api/v1/auth/password", json={"current_password": PASSWORD, "password": OTHER_PASSWORD}),
            await own.post("/api/v1/auth/second-factor", json={"password": PASSWORD}),
            await own.post(
                f"/api/v1/organizations/{me['organization_id']}/invitations", json={"email": "eve@example.com"}
            ),
        ]
        assert [each.status_code in (401, 403) for each in asked] == [True] * 4, [each.text for each in asked]
        await own.aclose()


@pytest.mark.parametrize("credential", ["key", "token"])
async def test_it_is_heard_of_in_every_process_within_five_seconds(
    app: FastAPI, anyone: Client, monkeypatch: pytest.MonkeyPatch, credential: str
) -> None:
    """Abuse 13: two processes that know the credential well, and are told of nothing."""
    person = await make_person(app)
    own = await signed_in(app, anyone, person)
    made = (await own.post("/api/v1/api-keys", json={"name": "mine"})).json()
    secret = made["key"] if credential == "key" else own.headers["authorization"].split()[1]
    clock = 1_000_000.0
    monkeypatch.setattr(verifying.time, "monotonic", lambda: clock)
    tokens = platform_of(app).tokens
    monkeypatch.setattr(tokens, "settings", AuthSettings(believed_seconds=5))
    rings = [Credentials(platform_of(app).database, tokens) for _ in range(2)]
    for ring in rings:
        assert (await ring.verify(secret)).user_id == person.user_id
    await disable(app, person.email)
    clock += 5.01
    for ring in rings:
        with pytest.raises(Problem) as refused:
            await ring.verify(secret)
        assert isinstance(refused.value, BadKey) == (credential == "key")
        await ring.close()
    await own.aclose()


async def test_nobody_gets_in_between_who_was_disabled_while_he_logged_in(
    app: FastAPI, anyone: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await make_person(app)
    passwords = platform_of(app).passwords
    check = passwords.check

    async def slow(*args: Any) -> Any:
        checked = await check(*args)
        await disable(app, person.email)
        return checked

    monkeypatch.setattr(passwords, "check", slow)
    assert (await log_in(anyone, person)).json()["code"] == "invalid_credentials"


async def test_a_password_that_was_reset_meanwhile_is_not_overwritten_by_who_knew_the_old_one(
    app: FastAPI, anyone: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner's letter wins over a thief's request that began before it."""
    person = await make_person(app)
    thief = await signed_in(app, anyone, person)
    await anyone.post("/api/v1/auth/forgot-password", json={"email": person.email})
    token = await token_to(app, person.email)
    passwords = platform_of(app).passwords
    check = passwords.check

    async def slow(*args: Any) -> Any:
        checked = await check(*args)
        body = {"email": person.email, "token": token, "password": OTHER_PASSWORD}
        assert (await anyone.post("/api/v1/auth/reset-password", json=body)).status_code == 204
        return checked

    with monkeypatch.context() as patch:
        patch.setattr(passwords, "check", slow)
        body = {"current_password": PASSWORD, "password": "the-thief's-own-words"}
        refused = await thief.post("/api/v1/auth/password", json=body)
    assert refused.status_code == 403
    assert (await log_in(anyone, person, "the-thief's-own-words")).status_code == 401
    assert (await log_in(anyone, person, OTHER_PASSWORD)).status_code == 200
    await thief.aclose()


async def test_without_a_choice_an_organisation_is_chosen_in_which_something_is_done(
    app: FastAPI, anyone: Client
) -> None:
    """A suspended or deleted one is the last resort, though the person has belonged to it longest."""
    person = await make_person(app)
    second = await join_another(app, person)
    pool = platform_of(app).database.pool
    for status in ("suspended_at = $2, deleted_at = null", "suspended_at = null, deleted_at = $2"):
        await pool.execute(f"update organizations set {status} where id = $1", person.organization_id, now())  # noqa: S608 - two texts of ours
        chosen = (await log_in(anyone, person)).json()
        assert (await client_of(app, chosen["access_token"]).get("/api/v1/agents")).status_code == 200
        assert chosen["organization_id"] != chosen["organizations"][-1]["organization_id"]
    await pool.execute(
        "update organizations set suspended_at = $3 where id in ($1, $2)",
        person.organization_id,
        second,
        now() - timedelta(days=1),
    )
    assert (await log_in(anyone, person)).status_code == 200, "who belongs to no other gets in, to resume one"
