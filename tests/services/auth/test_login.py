"""Logging in: who gets in, and that nobody learns anything by trying (S40, abuse 15, 18 to 20)."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI

from agent_factory.kit.ids import decode, encode, uuid7
from agent_factory.security.passwords import Passwords, PasswordSettings
from agent_factory.services.auth.service import throttle
from tests.services.auth.people import (
    CHEAP,
    OTHER_PASSWORD,
    PASSWORD,
    join_another,
    log_in,
    make_person,
    platform_of,
    signed_in,
)
from tests.serving import Client, client_of, opened, settings_for

Row = Any


@pytest.fixture(scope="module")
async def app(database_url: str) -> AsyncGenerator[FastAPI, None]:
    """Passwords that cost little, and no bound that a test does not ask for."""
    passwords = CHEAP.model_copy(update={"wrong_from_address": 1_000_000})
    async with opened(settings_for(database_url, passwords=passwords)) as running:
        yield running


async def test_a_person_gets_tokens_that_work_and_is_told_who_and_where(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    answer = await log_in(anyone, person)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert 0 < body["expires_in"] <= 600
    assert decode("usr", body["user"]["id"]) == person.user_id
    assert body["user"]["email"] == person.email
    organization = encode("org", person.organization_id)
    assert body["organizations"] == [
        {"organization_id": organization, "user_id": body["user"]["id"], "role": "developer"}
    ]
    async with client_of(app, body["access_token"]) as client:
        me = (await client.get("/api/v1/auth/me")).json()
    assert me["organization_id"] == organization
    assert me["session_id"] == body["session_id"]


async def test_an_address_is_the_same_in_any_spelling(app: FastAPI, anyone: Client) -> None:
    email = (await make_person(app)).email
    for spelling in (email.upper(), email.title(), f" {email} "):
        assert (await log_in(anyone, spelling)).status_code == 200


async def test_who_is_in_several_organisations_chooses_one(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    second = await join_another(app, person)
    first = (await log_in(anyone, person)).json()
    assert first["organization_id"] == encode("org", person.organization_id)
    assert {o["organization_id"] for o in first["organizations"]} == {
        encode("org", person.organization_id),
        encode("org", second),
    }
    chosen = (await log_in(anyone, person, organization_id=encode("org", second))).json()
    assert chosen["organization_id"] == chosen["user"]["organization_id"] == encode("org", second)
    assert chosen["user"]["role"] == "viewer"


async def test_an_organisation_that_one_is_not_in_is_refused_after_the_password(app: FastAPI, anyone: Client) -> None:
    person, other = await make_person(app), await make_person(app)
    theirs = encode("org", other.organization_id)
    wrong = await log_in(anyone, person, OTHER_PASSWORD, organization_id=theirs)
    assert wrong.json()["code"] == "invalid_credentials"
    for organization_id in (theirs, encode("org", uuid7())):
        answer = await log_in(anyone, person, organization_id=organization_id)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_a_member")


async def test_a_disabled_membership_and_a_disabled_account_let_nobody_in(app: FastAPI, anyone: Client) -> None:
    person, other = await make_person(app), await make_person(app)
    pool = platform_of(app).database.pool
    await pool.execute("update users set status = 'disabled' where id = $1", person.user_id)
    await pool.execute("update accounts set disabled_at = now() where id = $1", other.account_id)
    assert (await log_in(anyone, person)).json()["code"] == "not_a_member"
    assert (await log_in(anyone, other)).json()["code"] == "invalid_credentials"


def _without_id(answer: Any) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "request_id"}


async def test_an_unknown_address_cannot_be_told_from_a_wrong_password(app: FastAPI, anyone: Client) -> None:
    """Abuse 18: the same status, body and headers, whatever is wrong."""
    known, unverified, without, disabled = [
        await make_person(app),
        await make_person(app, verified=False),
        await make_person(app, password=None),
        await make_person(app),
    ]
    await platform_of(app).database.pool.execute(
        "update accounts set disabled_at = now() where id = $1", disabled.account_id
    )
    answers = [
        await log_in(anyone, f"nobody-{uuid7().hex}@example.com"),
        await log_in(anyone, "no address at all"),
        await log_in(anyone, "' OR 1=1 --"),
        await log_in(anyone, known, OTHER_PASSWORD),
        await log_in(anyone, unverified),
        await log_in(anyone, unverified, OTHER_PASSWORD),
        await log_in(anyone, without),
        await log_in(anyone, disabled),
    ]
    assert {a.status_code for a in answers} == {401}
    assert all(_without_id(a) == _without_id(answers[0]) for a in answers)
    assert len({tuple(sorted(a.headers.keys())) for a in answers}) == 1


class _Work:
    """Counts what a login takes: statements, hashes."""

    def __init__(self, app: FastAPI, patch: pytest.MonkeyPatch) -> None:
        from sqlalchemy import event  # noqa: PLC0415 - only here

        self.done: list[str] = []
        engine = platform_of(app).database._system.sync_engine
        event.listen(engine, "before_cursor_execute", self._saw)
        self._stop = lambda: event.remove(engine, "before_cursor_execute", self._saw)
        check = Passwords._check

        def hashed(passwords: Passwords, *args: Any) -> Any:
            self.done.append("hash")
            return check(passwords, *args)

        patch.setattr(Passwords, "_check", hashed)

    def _saw(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.done.append(" ".join(statement.split()))

    def taken(self) -> list[str]:
        done, self.done = self.done, []
        return done

    def stop(self) -> None:
        self._stop()


async def test_an_unknown_address_takes_the_work_of_a_known_one(
    app: FastAPI, anyone: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Abuse 18: the same statements and hashes in the same order, so that time tells nothing."""
    person = await make_person(app)
    work = _Work(app, monkeypatch)
    await log_in(anyone, person, OTHER_PASSWORD)
    known = work.taken()
    await log_in(anyone, f"nobody-{uuid7().hex}@example.com", OTHER_PASSWORD)
    unknown = work.taken()
    work.stop()
    assert known == unknown
    assert known.count("hash") == 1


@pytest.mark.parametrize("length", [1025, 100_000])
async def test_a_password_that_is_too_long_is_refused_before_it_is_hashed(
    app: FastAPI, anyone: Client, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Abuse 20."""
    work = _Work(app, monkeypatch)
    answer = await log_in(anyone, "ada@example.com", "x" * length)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/password")
    assert "xxx" not in answer.text
    assert work.taken() == []
    work.stop()


async def test_ten_megabytes_of_password_are_refused_before_they_are_hashed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Abuse 20: by the body's limit, and by the field's where an operator takes larger bodies."""
    for max_body, status in ((1_048_576, 413), (16_000_000, 422)):
        server = {"hosts": ("*",), "max_body": max_body}
        async with opened(settings_for(database_url, server=server, passwords=CHEAP)) as app:
            work = _Work(app, monkeypatch)
            async with client_of(app) as anyone:
                answer = await log_in(anyone, "ada@example.com", "x" * 10_000_000)
            assert answer.status_code == status
            assert work.taken() == []
            work.stop()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "ada@example.com"},
        {"email": "", "password": PASSWORD},
        {"email": "ada@example.com", "password": ""},
        {"email": "ada@example.com", "password": None},
        {"email": ["ada@example.com"], "password": PASSWORD},
        {"email": "ada@example.com", "password": PASSWORD, "otp": 123456},
        {"email": "ada@example.com", "password": PASSWORD, "otp": "1"},
        {"email": "ada@example.com", "password": PASSWORD, "device": "x" * 200},
        {"email": "ada@example.com", "password": PASSWORD, "role": "admin"},
        {"email": "ada@example.com", "password": PASSWORD, "organization_id": "usr_x"},
        {"email": "x" * 300, "password": PASSWORD},
        [],
    ],
)
async def test_what_is_no_login_is_refused_by_field(anyone: Client, body: Any) -> None:
    answer = await anyone.post("/api/v1/auth/login", json=body)
    assert answer.status_code == 422
    assert PASSWORD not in answer.text


async def test_an_idempotency_key_does_not_keep_tokens(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    body = {"email": person.email, "password": PASSWORD}
    answers = [
        await anyone.post("/api/v1/auth/login", json=body, headers={"Idempotency-Key": "once"}) for _ in range(2)
    ]
    assert [a.status_code for a in answers] == [200, 200]
    assert answers[0].json()["access_token"] != answers[1].json()["access_token"]


async def test_a_thousand_wrong_passwords_stop_the_guesser_and_not_the_owner(app: FastAPI, anyone: Client) -> None:
    """Abuse 19: exactly ten are looked at; the owner's own device gets in all the same."""
    person = await make_person(app)
    device = (await log_in(anyone, person)).json()["device"]
    gate = asyncio.Semaphore(20)

    async def guess(n: int) -> Any:
        async with gate:
            return await log_in(anyone, person, f"guess-number-{n}")

    answers = await asyncio.gather(*(guess(n) for n in range(1000)))
    refused = [a for a in answers if a.status_code == 401]
    late = [a for a in answers if a.status_code == 429]
    assert (len(refused), len(late)) == (10, 990)
    assert all(a.json()["code"] == "too_many_attempts" and int(a.headers["retry-after"]) > 0 for a in late)
    assert (await log_in(anyone, person)).status_code == 429, "from elsewhere even the right password waits"
    assert (await log_in(anyone, person, device=device)).status_code == 200
    fresh = {"Cookie": f"af_device={device}"}
    body = {"email": person.email, "password": PASSWORD}
    assert (await anyone.post("/api/v1/auth/login", json=body, headers=fresh)).status_code == 200


async def test_several_processes_count_together(database_url: str) -> None:
    """Abuse 19: three of them, which share nothing but the database, look at ten passwords in all."""
    settings = settings_for(database_url, passwords=CHEAP)
    async with opened(settings) as one, opened(settings) as two, opened(settings) as three:
        person = await make_person(one)
        clients = [client_of(app) for app in (one, two, three)]
        guesses = (log_in(clients[n % 3], person, f"guess-number-{n}") for n in range(60))
        statuses = [answer.status_code for answer in await asyncio.gather(*guesses)]
        assert (statuses.count(401), statuses.count(429)) == (10, 50)
        for client in clients:
            await client.aclose()


async def test_an_unknown_address_is_throttled_as_a_known_one_is(app: FastAPI, anyone: Client) -> None:
    """Abuse 18, 19."""
    email = f"nobody-{uuid7().hex}@example.com"
    answers = [await log_in(anyone, email, OTHER_PASSWORD) for _ in range(12)]
    assert [a.status_code for a in answers] == [401] * 10 + [429] * 2
    known = await make_person(app)
    late = [await log_in(anyone, known, OTHER_PASSWORD) for _ in range(12)][-1]
    assert _without_id(late) == _without_id(answers[-1])
    assert set(late.headers) == set(answers[-1].headers)
    assert abs(int(late.headers["retry-after"]) - int(answers[-1].headers["retry-after"])) <= 60


async def test_one_network_address_cannot_try_many_accounts(database_url: str) -> None:
    """Abuse 19: per address, over accounts that exist and such that do not."""
    passwords = CHEAP.model_copy(update={"wrong_from_address": 30})
    async with opened(settings_for(database_url, passwords=passwords)) as app:
        place = f"2001:db8:{uuid7().hex[-4:]}:{uuid7().hex[-4:]}"
        transport = httpx2.ASGITransport(app=app, client=(f"{place}::1", 1234))
        person = await make_person(app)
        async with Client(transport=transport, base_url="http://testserver") as guesser:
            answers = [await log_in(guesser, f"nobody-{uuid7().hex}@example.com") for _ in range(31)]
            assert [a.status_code for a in answers] == [401] * 30 + [429]
            assert (await log_in(guesser, person)).status_code == 429
            transport.client = (f"{place}:1:2:3:4", 1234)
            assert (await log_in(guesser, person)).status_code == 429, "the same network"
            transport.client = ("203.0.113.7", 1234)
            assert (await log_in(guesser, person)).status_code == 200


async def test_a_device_is_known_for_its_own_account_only_and_has_a_bound_too(app: FastAPI, anyone: Client) -> None:
    person, other = await make_person(app), await make_person(app)
    device = (await log_in(anyone, other)).json()["device"]
    assert (await log_in(anyone, other, device=device)).json()["device"] == device
    for _ in range(10):
        await log_in(anyone, person, OTHER_PASSWORD)
    assert (await log_in(anyone, person, device=device)).status_code == 429
    assert (await log_in(anyone, person, device="afd_made-up")).status_code == 429
    answers = [await log_in(anyone, other, OTHER_PASSWORD, device=device) for _ in range(11)]
    assert [a.status_code for a in answers] == [401] * 10 + [429]
    assert (await log_in(anyone, other)).status_code == 200


async def test_a_device_that_nobody_used_for_half_a_year_is_known_no_longer(app: FastAPI, anyone: Client) -> None:
    """Abuse 19: whoever finds an old one has no more attempts than others."""
    person = await make_person(app)
    device = (await log_in(anyone, person)).json()["device"]
    for _ in range(10):
        await log_in(anyone, person, OTHER_PASSWORD)
    pool = platform_of(app).database.pool
    for age, status in (("179 days", 200), ("181 days", 429)):
        await pool.execute(
            "update account_devices set last_used_at = now() - $2::text::interval where account_id = $1",
            person.account_id,
            age,
        )
        assert (await log_in(anyone, person, device=device)).status_code == status


async def test_a_login_makes_the_count_begin_anew(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    for _ in range(3):
        for _ in range(9):
            assert (await log_in(anyone, person, OTHER_PASSWORD)).status_code == 401
        assert (await log_in(anyone, person)).status_code == 200


async def test_a_bound_is_over_when_its_window_is(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    for _ in range(11):
        await log_in(anyone, person, OTHER_PASSWORD)
    bounds = throttle.for_password(CHEAP, person.email, "127.0.0.1", None)
    await platform_of(app).database.pool.execute(
        "update failed_logins set since = since - interval '15 minutes' where key = $1", bounds[0].key
    )
    assert (await log_in(anyone, person)).status_code == 200


async def test_who_is_turned_away_because_all_are_busy_has_not_failed(database_url: str) -> None:
    passwords = PasswordSettings(memory=8, iterations=1, threads=1, waiting=0)
    async with opened(settings_for(database_url, passwords=passwords)) as app, client_of(app) as anyone:
        person = await make_person(app)
        released = threading.Event()
        busy = asyncio.create_task(platform_of(app).passwords._within(released.wait))
        await asyncio.sleep(0)
        for _ in range(12):
            answer = await log_in(anyone, person)
            assert (answer.status_code, answer.json()["code"]) == (503, "too_many_logins")
            assert int(answer.headers["retry-after"]) > 0
        released.set()
        await busy
        assert (await log_in(anyone, person)).status_code == 200


async def test_a_hash_of_other_parameters_is_made_anew_at_the_next_login(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    before = Passwords(PasswordSettings(memory=16, iterations=1))
    await _set_hash(app, person.account_id, await before.hash(PASSWORD))
    before.close()
    assert (await log_in(anyone, person)).status_code == 200
    renewed = await _hash(app, person.account_id)
    assert "m=8," in renewed
    assert (await log_in(anyone, person)).status_code == 200
    assert await _hash(app, person.account_id) == renewed


async def test_logins_and_failures_are_in_the_audit_trail_without_the_address(app: FastAPI, anyone: Client) -> None:
    person = await make_person(app)
    await log_in(anyone, person, OTHER_PASSWORD)
    await log_in(anyone, person)
    rows = await platform_of(app).database.pool.fetch(
        "select action, outcome, row_to_json(e)::text as text from audit_events e where user_id = $1 order by id",
        person.user_id,
    )
    assert [(row["action"], row["outcome"]) for row in rows] == [
        ("auth.login_failed", "refused"),
        ("auth.login", "succeeded"),
    ]
    assert all(person.email not in row["text"] and PASSWORD not in row["text"] for row in rows)


async def test_a_disabled_members_session_ends(app: FastAPI, anyone: Client) -> None:
    """Abuse 13: what a process believes, it believes for at most 5 seconds; here nothing is believed yet."""
    person = await make_person(app)
    client = await signed_in(app, anyone, person)
    await platform_of(app).database.pool.execute("update users set status = 'disabled' where id = $1", person.user_id)
    assert (await client.get("/api/v1/auth/me")).status_code == 401
    await client.aclose()


async def _hash(app: FastAPI, account_id: UUID) -> str:
    return await platform_of(app).database.pool.fetchval("select password_hash from accounts where id = $1", account_id)


async def _set_hash(app: FastAPI, account_id: UUID, hashed: str) -> None:
    await platform_of(app).database.pool.execute(
        "update accounts set password_hash = $2 where id = $1", account_id, hashed
    )
