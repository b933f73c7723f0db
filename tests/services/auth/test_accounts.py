"""Accounts: verified, given new passwords, and no help to whoever guesses addresses (S31, S39, abuse 15, 17, 18)."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.database.models import UserRow
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.auth.errors import AccountExists
from agent_factory.services.auth.service import accounts
from tests.services.auth.people import (
    CHEAP,
    OTHER_PASSWORD,
    PASSWORD,
    Person,
    letters_to,
    log_in,
    make_person,
    platform_of,
    signed_in,
    token_to,
)
from tests.serving import Client, Sign, client_of, opened, settings_for

RESET = "/api/v1/auth/reset-password"


@pytest.fixture(scope="module")
async def app(database_url: str) -> AsyncGenerator[FastAPI, None]:
    passwords = CHEAP.model_copy(update={"wrong_from_address": 1_000_000})
    async with opened(settings_for(database_url, passwords=passwords)) as running:
        yield running


async def ask_reset(app: FastAPI, anyone: Client, person: Person) -> str:
    """A token for a new password, from the letter."""
    answer = await anyone.post("/api/v1/auth/forgot-password", json={"email": person.email})
    assert answer.status_code == 202
    return await token_to(app, person.email)


def _told(answer: Any) -> tuple[int, dict[str, Any]]:
    return answer.status_code, {k: v for k, v in answer.json().items() if k != "request_id"}


async def test_a_new_account_gets_in_once_its_address_is_confirmed(app: FastAPI, anyone: Client) -> None:
    person = await _unverified(app)
    assert (await log_in(anyone, person)).status_code == 401
    body = {"email": person.email.upper(), "token": await token_to(app, person.email), "password": PASSWORD}
    assert (await anyone.post("/api/v1/auth/verify-email", json=body)).status_code == 204
    assert (await log_in(anyone, person)).status_code == 200
    assert (await anyone.post("/api/v1/auth/verify-email", json=body)).json()["code"] == "invalid_token"


async def test_who_reads_the_mail_of_a_strangers_registration_does_not_let_the_stranger_in(
    app: FastAPI, anyone: Client
) -> None:
    """A click on a link is no consent: whoever confirms has to know the password too."""
    person = await _unverified(app)
    token = await token_to(app, person.email)
    body = {"email": person.email, "token": token, "password": OTHER_PASSWORD}
    assert (await anyone.post("/api/v1/auth/verify-email", json=body)).json()["code"] == "wrong_password"
    assert (await log_in(anyone, person)).status_code == 401


async def test_the_last_to_register_an_unconfirmed_address_makes_earlier_letters_worthless(
    app: FastAPI, anyone: Client
) -> None:
    person = await _unverified(app)
    first = await token_to(app, person.email)
    platform = platform_of(app)
    hashed = await platform.passwords.hash(OTHER_PASSWORD)
    async with platform.database.system() as session:
        again = await accounts.create_account(session, email=person.email.title(), password=hashed, name="Eve")
        assert again.id == person.account_id
    for password in (PASSWORD, OTHER_PASSWORD):
        body = {"email": person.email, "token": first, "password": password}
        assert (await anyone.post("/api/v1/auth/verify-email", json=body)).json()["code"] == "invalid_token"


async def test_an_account_that_is_confirmed_is_never_made_over(app: FastAPI) -> None:
    person = await make_person(app)
    async with platform_of(app).database.system() as session:
        with pytest.raises(AccountExists):
            await accounts.create_account(session, email=person.email.upper(), password=None, name="Eve")


async def test_many_who_register_one_address_at_once_make_one_account(app: FastAPI) -> None:
    email = f"ada-{uuid7().hex}@example.com"
    platform = platform_of(app)

    async def register(spelling: str) -> Any:
        async with platform.database.system() as session:
            return (await accounts.create_account(session, email=spelling, password=None, name="Ada")).id

    made = await asyncio.gather(*(register(each) for each in (email, email.upper(), email.title()) * 4))
    assert len(set(made)) == 1


async def test_another_verification_is_sent_to_whoever_waits_for_one_only(app: FastAPI, anyone: Client) -> None:
    """Abuse 18: the answer and the work are the same for all."""
    waits, done = await make_person(app, verified=False), await make_person(app)
    unknown = f"nobody-{uuid7().hex}@example.com"
    answers = [
        await anyone.post("/api/v1/auth/resend-verification", json={"email": email})
        for email in (waits.email, done.email, unknown)
    ]
    assert {_told(a)[0] for a in answers} == {202}
    assert all(_told(a) == _told(answers[0]) for a in answers)
    assert len(await letters_to(app, waits.email)) == 1
    assert await letters_to(app, done.email) == await letters_to(app, unknown) == []
    body = {"email": waits.email, "token": await token_to(app, waits.email), "password": PASSWORD}
    assert (await anyone.post("/api/v1/auth/verify-email", json=body)).status_code == 204


async def test_a_letter_about_a_registered_address_goes_to_its_owner(app: FastAPI) -> None:
    person = await make_person(app)
    platform = platform_of(app)
    async with platform.database.system() as session:
        account = await auth.account_by_email(session, person.email.upper())
        assert account is not None
        await auth.tell_registered(session, platform.mail, account)
    [letter] = await letters_to(app, person.email)
    assert "there is an account" in letter.text


async def test_a_forgotten_password_is_replaced_by_the_token_of_a_letter(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    client = await signed_in(app, anyone, person)
    token = await ask_reset(app, anyone, person)
    body = {"email": person.email, "token": token, "password": OTHER_PASSWORD}
    assert (await anyone.post(RESET, json=body)).status_code == 204
    assert (await log_in(anyone, person)).status_code == 401
    assert (await log_in(anyone, person, OTHER_PASSWORD)).status_code == 200
    assert (await client.get("/api/v1/auth/me")).status_code == 401, "every session has ended"
    assert "was changed" in (await letters_to(app, person.email))[-1].text
    await client.aclose()


async def test_a_reset_is_asked_for_with_the_same_answer_for_every_address(app: FastAPI, anyone: Client) -> None:
    """Abuse 18."""
    known, disabled = await make_person(app), await make_person(app)
    await platform_of(app).database.pool.execute(
        "update accounts set disabled_at = now() where id = $1", disabled.account_id
    )
    emails = (known.email, disabled.email, f"nobody-{uuid7().hex}@example.com", "no address")
    answers = [await anyone.post("/api/v1/auth/forgot-password", json={"email": email}) for email in emails]
    assert all(_told(a) == _told(answers[0]) for a in answers)
    assert [len(await letters_to(app, email)) for email in emails] == [1, 0, 0, 0]


async def test_an_unknown_address_takes_the_work_of_a_known_one(app: FastAPI, anyone: Client) -> None:
    """Abuse 18: the same rows are written, of about the same size, so that time tells nothing."""
    person = await make_person(app)
    pool = platform_of(app).database.pool
    sizes: list[Any] = []
    for email in (person.email, f"ada-{uuid7().hex}@example.com"):
        await anyone.post("/api/v1/auth/forgot-password", json={"email": email})
        letter = await pool.fetchrow("select id, length(letter) as size from mail_outbox order by id desc limit 1")
        token = await pool.fetchval("select purpose from account_tokens order by id desc limit 1")
        assert letter is not None
        sizes.append((letter["size"], token))
    (known, purpose), (unknown, same) = sizes
    assert purpose == same == "reset"
    assert abs(known - unknown) < 150


@pytest.mark.parametrize(
    "token", [None, "", " ", "null", "undefined", "%00", "afr_", "' OR 1=1 --", ["x"], {}, 0, True]
)
async def test_a_token_that_is_none_changes_no_password(app: FastAPI, anyone: Client, token: Any) -> None:
    """Abuse 17."""
    person = await make_person(app)
    await ask_reset(app, anyone, person)
    answer = await anyone.post(RESET, json={"email": person.email, "token": token, "password": OTHER_PASSWORD})
    assert answer.status_code == 422
    assert (await log_in(anyone, person)).status_code == 200


async def test_a_body_without_a_token_changes_no_password(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    answer = await anyone.post(RESET, json={"email": person.email, "password": OTHER_PASSWORD})
    assert answer.status_code == 422


async def test_a_token_works_once(app: FastAPI, anyone: Client) -> None:
    """Abuse 17: also when many try it at the same moment."""
    person = await make_person(app)
    token = await ask_reset(app, anyone, person)
    bodies = [{"email": person.email, "token": token, "password": f"quite-another-horse-{n}"} for n in range(10)]
    answers = await asyncio.gather(*(anyone.post(RESET, json=body) for body in bodies))
    assert sorted(a.status_code for a in answers) == [204] + [422] * 9
    assert (await anyone.post(RESET, json=bodies[0])).json()["code"] == "invalid_token"
    logins = [await log_in(anyone, person, body["password"]) for body in bodies]
    assert [a.status_code for a in logins].count(200) == 1


async def test_a_token_that_many_use_at_once_works_once(app: FastAPI, anyone: Client) -> None:
    """Abuse 17: whoever is first has the account, and exactly one is."""
    person = await make_person(app)
    token = await ask_reset(app, anyone, person)
    words = [f"quite-another-horse-{n}{n}" for n in range(20)]
    bodies = [{"email": person.email, "token": token, "password": each} for each in words]
    answers = await asyncio.gather(*(anyone.post(RESET, json=body) for body in bodies))
    won = [word for word, answer in zip(words, answers, strict=True) if answer.status_code == 204]
    assert len(won) == 1
    assert {answer.status_code for answer in answers} == {204, 422}
    assert (await log_in(anyone, person, won[0])).status_code == 200


async def test_a_token_is_good_for_its_own_account_and_purpose_only(app: FastAPI, anyone: Client) -> None:
    """Abuse 17: another's token, and one for something else."""
    person, victim = await make_person(app), await make_person(app)
    token = await ask_reset(app, anyone, person)
    body = {"email": victim.email, "token": token, "password": OTHER_PASSWORD}
    assert (await anyone.post(RESET, json=body)).json()["code"] == "invalid_token"
    fresh = await _unverified(app)
    verification = await token_to(app, fresh.email)
    body = {"email": fresh.email, "token": verification, "password": OTHER_PASSWORD}
    assert (await anyone.post(RESET, json=body)).json()["code"] == "invalid_token"
    assert (await log_in(anyone, victim)).status_code == 200


async def test_a_token_is_too_old_after_an_hour(app: FastAPI, anyone: Client) -> None:
    """Abuse 17."""
    person = await make_person(app)
    token = await ask_reset(app, anyone, person)
    left = await platform_of(app).database.pool.fetchval(
        "select expires_at from account_tokens where account_id = $1", person.account_id
    )
    assert timedelta(minutes=55) < left - now() <= timedelta(hours=1)
    await platform_of(app).database.pool.execute(
        "update account_tokens set expires_at = now() where account_id = $1", person.account_id
    )
    body = {"email": person.email, "token": token, "password": OTHER_PASSWORD}
    assert (await anyone.post(RESET, json=body)).json()["code"] == "invalid_token"


async def test_a_refused_password_does_not_use_the_token_up(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    body = {"email": person.email, "token": await ask_reset(app, anyone, person)}
    for weak in ("short", "password1234", person.email):
        answer = await anyone.post(RESET, json={**body, "password": weak})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/password")
    assert (await anyone.post(RESET, json={**body, "password": OTHER_PASSWORD})).status_code == 204


async def test_the_database_holds_neither_tokens_nor_passwords(app: FastAPI, anyone: Client) -> None:
    """S202."""
    person = await make_person(app)
    token = await ask_reset(app, anyone, person)
    device = (await log_in(anyone, person)).json()["device"]
    pool = platform_of(app).database.pool
    for table in ("accounts", "account_tokens", "account_devices", "failed_logins", "mail_outbox"):
        rows = await pool.fetch(f"select row_to_json(t)::text as text from {table} t")  # noqa: S608 - names from here
        for secret in (token, device, PASSWORD):
            forms = (secret, secret.encode().hex(), secret.removeprefix("afr_").encode().hex())
            assert all(form not in row["text"] for row in rows for form in forms), table


async def test_letters_are_not_asked_for_without_end(app: FastAPI, anyone: Client) -> None:
    for email in ((await make_person(app)).email, f"nobody-{uuid7().hex}@example.com"):
        answers = [await anyone.post("/api/v1/auth/forgot-password", json={"email": email}) for _ in range(12)]
        assert [a.status_code for a in answers] == [202] * 10 + [429] * 2


async def test_a_new_password_by_mail_lets_in_at_once_whoever_was_locked_out(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    for _ in range(11):
        await log_in(anyone, person, "a-wrong-guess-0")
    body = {
        "email": person.email,
        "token": await ask_reset(app, anyone, person),
        "password": OTHER_PASSWORD,
    }
    assert (await anyone.post(RESET, json=body)).status_code == 204
    assert (await log_in(anyone, person, OTHER_PASSWORD)).status_code == 200


async def test_a_changed_password_ends_all_other_sessions(app: FastAPI, anyone: Client) -> None:
    """Abuse 15."""
    person = await make_person(app)
    mine, others = await signed_in(app, anyone, person), [await signed_in(app, anyone, person) for _ in range(3)]
    refresh = (await log_in(anyone, person)).json()["refresh_token"]
    for client in (mine, *others):
        assert (await client.get("/api/v1/auth/me")).status_code == 200
    body = {"current_password": PASSWORD, "password": OTHER_PASSWORD}
    assert (await mine.post("/api/v1/auth/password", json=body)).status_code == 204
    assert (await mine.get("/api/v1/auth/me")).status_code == 200
    for client in others:
        assert (await client.get("/api/v1/auth/me")).status_code == 401
    assert (await anyone.post("/api/v1/auth/refresh", json={"refresh_token": refresh})).status_code == 401
    assert (await log_in(anyone, person)).status_code == 401
    assert (await log_in(anyone, person, OTHER_PASSWORD)).status_code == 200
    for client in (mine, *others):
        await client.aclose()


async def test_a_password_is_not_changed_without_the_present_one(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    client = await signed_in(app, anyone, person)
    for current in (None, OTHER_PASSWORD):
        body = {"current_password": current, "password": OTHER_PASSWORD}
        answer = await client.post("/api/v1/auth/password", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_password")
    answers = [await client.post("/api/v1/auth/password", json={"password": OTHER_PASSWORD}) for _ in range(9)]
    assert answers[-1].status_code == 429, "whoever stole a session cannot guess on"
    assert (await log_in(anyone, person)).status_code == 200
    await client.aclose()


async def test_a_weak_password_is_refused_by_field(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    client = await signed_in(app, anyone, person)
    body = {"current_password": PASSWORD, "password": "password1234"}
    answer = await client.post("/api/v1/auth/password", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/password")
    assert "password1234" not in answer.text
    await client.aclose()


async def test_an_owner_without_a_password_chooses_one_by_the_key(app: FastAPI, sign: Sign, anyone: Client) -> None:
    person = await make_person(app, password=None, role="organization_owner")
    client = await sign(_actor(person))
    shown = (await client.get("/api/v1/auth/account")).json()
    assert (shown["email"], shown["has_password"], shown["second_factor"]) == (person.email, False, False)
    assert (await client.post("/api/v1/auth/password", json={"password": PASSWORD})).status_code == 204
    assert (await client.get("/api/v1/auth/account")).json()["has_password"]
    assert (await log_in(anyone, person)).status_code == 200
    again = await client.post("/api/v1/auth/password", json={"password": OTHER_PASSWORD})
    assert again.json()["code"] == "wrong_password"


async def test_a_narrow_key_does_nothing_about_the_account_of_its_owner(app: FastAPI, sign: Sign) -> None:
    person = await make_person(app, password=None, role="organization_owner")
    client = await sign(_actor(person))
    narrow = await client.post("/api/v1/api-keys", json={"name": "narrow", "scopes": ["agent:read"]})
    assert narrow.status_code == 201, narrow.text
    async with client_of(app, narrow.json()["key"]) as other:
        for path, body in (
            ("/api/v1/auth/password", {"password": PASSWORD}),
            ("/api/v1/auth/second-factor", {"password": PASSWORD}),
        ):
            assert (await other.post(path, json=body)).status_code == 403
        assert (await other.get("/api/v1/auth/account")).status_code == 403


async def test_a_caller_without_an_account_is_told_so(client: Client) -> None:
    answer = await client.get("/api/v1/auth/account")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_account")


@pytest.mark.parametrize(
    "table",
    ["accounts", "account_recovery_codes", "account_tokens", "account_devices", "failed_logins", "mail_outbox"],
)
async def test_requests_of_an_organisation_reach_no_account(app: FastAPI, table: str) -> None:
    from sqlalchemy import text  # noqa: PLC0415 - one statement
    from sqlalchemy.exc import ProgrammingError  # noqa: PLC0415 - as above

    person = await make_person(app)
    async with platform_of(app).database.read(person.organization_id) as session:
        with pytest.raises(ProgrammingError, match="permission denied"):
            await session.execute(text(f"select * from {table}"))  # noqa: S608 - names from here


async def test_users_who_were_there_before_accounts_have_one_without_a_password(empty_database_url: str) -> None:
    import asyncpg  # noqa: PLC0415 - one connection

    from agent_factory.database.migrations import migrate  # noqa: PLC0415 - as above

    await migrate(empty_database_url, "0003")
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("set role af_system")
    organization, user = uuid7(), uuid7()
    await connection.execute("insert into organizations (id, name) values ($1, 'Home')", organization)
    await connection.execute(
        "insert into users (id, organization_id, email) values ($1, $2, 'Ada@example.com')", user, organization
    )
    await migrate(empty_database_url, "0004")
    row = await connection.fetchrow(
        "select a.* from accounts a join users u on u.account_id = a.id where u.id = $1", user
    )
    await connection.close()
    assert row is not None
    assert (row["email"], row["password_hash"]) == ("Ada@example.com", None)
    assert row["verified_at"] is not None


def _actor(person: Person) -> Actor:
    return Actor(
        organization_id=person.organization_id,
        user_id=person.user_id,
        role="organization_owner",
        rights=frozenset({"*"}),
    )


async def _unverified(app: FastAPI) -> Person:
    """Somebody who registered, and whose letter waits."""
    person = await make_person(app, verified=False)
    platform = platform_of(app)
    async with platform.database.system() as session:
        account = await auth.account_by_email(session, person.email)
        assert account is not None
        assert isinstance(await session.get(UserRow, person.user_id), UserRow)
        await auth.send_verification(session, platform.mail, account)
    return person
