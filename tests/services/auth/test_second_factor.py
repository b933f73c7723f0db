"""The second factor: codes that work once, recovery codes, and bounds on guessing (abuse 21)."""

import asyncio
from collections.abc import AsyncGenerator
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI

from agent_factory.kit.clock import now
from agent_factory.security.addresses import subscriber
from agent_factory.services.auth.rules.accounts import make_recovery_codes, make_seed, otp_step, recovery_hash
from tests.services.auth.people import (
    CHEAP,
    OTHER_PASSWORD,
    PASSWORD,
    Person,
    code_of,
    log_in,
    make_person,
    platform_of,
    signed_in,
    with_second_factor,
)
from tests.serving import Client, opened, settings_for


@pytest.fixture(scope="module")
async def app(database_url: str) -> AsyncGenerator[FastAPI, None]:
    passwords = CHEAP.model_copy(update={"wrong_from_address": 1_000_000})
    async with opened(settings_for(database_url, passwords=passwords)) as running:
        yield running


@pytest.fixture
async def person(app: FastAPI) -> Person:
    return await make_person(app)


@pytest.fixture
async def own(app: FastAPI, anyone: Client, person: Person) -> AsyncGenerator[Client, None]:
    """The person's own session."""
    client = await signed_in(app, anyone, person)
    yield client
    await client.aclose()


async def test_an_authenticator_reads_the_uri_and_the_same_secret_is_there_to_type(own: Client, person: Person) -> None:
    answer = await own.post("/api/v1/auth/second-factor", json={"password": PASSWORD})
    shown = answer.json()
    uri = urlsplit(shown["otpauth_uri"])
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert parse_qs(uri.query)["secret"] == [shown["secret"]]
    assert parse_qs(uri.query)["issuer"] == ["Agent Factory"]
    assert person.email.replace("@", "%40") in uri.path
    assert len(shown["secret"]) == 32


async def test_it_counts_only_once_a_code_has_confirmed_it(own: Client, anyone: Client, person: Person) -> None:
    await own.post("/api/v1/auth/second-factor", json={"password": PASSWORD})
    assert (await log_in(anyone, person)).status_code == 200
    wrong = await own.post("/api/v1/auth/second-factor:confirm", json={"otp": "000000"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "otp_refused")
    await with_second_factor(own)
    answer = await log_in(anyone, person)
    assert (answer.status_code, answer.json()["code"]) == (401, "otp_required")
    assert (await own.get("/api/v1/auth/account")).json()["second_factor"]


async def test_a_code_lets_in_and_a_wrong_password_never_gets_to_it(
    own: Client, anyone: Client, person: Person
) -> None:
    secret, _ = await with_second_factor(own)
    for otp in (None, code_of(secret), "000000"):
        answer = await log_in(anyone, person, OTHER_PASSWORD, otp=otp)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    code = code_of(secret)
    assert (await log_in(anyone, person, otp=f"{code[:3]} {code[3:]}")).status_code == 200


async def test_a_code_works_once(own: Client, anyone: Client, person: Person) -> None:
    """Abuse 21: the same code, and any older one that is still in its time."""
    secret, _ = await with_second_factor(own)
    codes = [code_of(secret, step) for step in (-1, 0, 1)]
    assert (await log_in(anyone, person, otp=codes[1])).status_code == 200
    for code in codes[:2]:
        answer = await log_in(anyone, person, otp=code)
        assert (answer.status_code, answer.json()["code"]) == (401, "otp_refused")
    assert (await log_in(anyone, person, otp=codes[2])).status_code == 200


async def test_a_code_that_many_use_at_once_works_once(own: Client, anyone: Client, person: Person) -> None:
    """Abuse 21, over connections that know nothing of each other."""
    secret, _ = await with_second_factor(own)
    code = code_of(secret)
    answers = await asyncio.gather(*(log_in(anyone, person, otp=code) for _ in range(5)))
    assert sorted(a.status_code for a in answers) == [200] + [401] * 4


async def test_the_code_that_confirmed_is_used_up(own: Client, anyone: Client, person: Person) -> None:
    secret = (await own.post("/api/v1/auth/second-factor", json={"password": PASSWORD})).json()["secret"]
    code = code_of(secret)
    assert (await own.post("/api/v1/auth/second-factor:confirm", json={"otp": code})).status_code == 200
    assert (await log_in(anyone, person, otp=code)).json()["code"] == "otp_refused"


async def test_codes_are_not_guessed_without_end(own: Client, anyone: Client, person: Person) -> None:
    """Five in a quarter of an hour; a known device has five of its own."""
    device = (await log_in(anyone, person)).json()["device"]
    secret, _ = await with_second_factor(own)
    answers = [await log_in(anyone, person, otp=f"{n:06}") for n in range(7)]
    assert [a.status_code for a in answers] == [401] * 5 + [429] * 2
    assert (await log_in(anyone, person, otp=code_of(secret))).status_code == 429
    assert (await log_in(anyone, person, otp=code_of(secret), device=device)).status_code == 200


async def test_each_recovery_code_stands_in_once(own: Client, anyone: Client, person: Person) -> None:
    _, codes = await with_second_factor(own)
    assert len(set(codes)) == 10
    for n, code in enumerate(codes):
        typed = code if n % 2 else code.upper().replace("-", " ")
        assert (await log_in(anyone, person, otp=typed)).status_code == 200
        assert (await log_in(anyone, person, otp=code)).json()["code"] == "otp_refused"
        assert (await own.get("/api/v1/auth/account")).json()["recovery_codes_left"] == 9 - n


async def test_a_recovery_code_that_many_use_at_once_works_once(own: Client, anyone: Client, person: Person) -> None:
    """Also where nothing else would stop them: each from a device of its own."""
    _, codes = await with_second_factor(own)
    devices = [(await log_in(anyone, person, otp=code)).json()["device"] for code in codes[1:7]]
    guesses = (log_in(anyone, person, otp=codes[0], device=devices[n % 6]) for n in range(24))
    statuses = [answer.status_code for answer in await asyncio.gather(*guesses)]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 401, 429}
    left = (await own.get("/api/v1/auth/account")).json()["recovery_codes_left"]
    assert left == 3


async def test_another_persons_recovery_code_is_none(app: FastAPI, own: Client, anyone: Client, person: Person) -> None:
    await with_second_factor(own)
    other = await make_person(app)
    theirs = await signed_in(app, anyone, other)
    _, codes = await with_second_factor(theirs)
    assert (await log_in(anyone, person, otp=codes[0])).json()["code"] == "otp_refused"
    assert (await log_in(anyone, other, otp=codes[0])).status_code == 200
    await theirs.aclose()


async def test_new_recovery_codes_make_the_old_ones_worthless(own: Client, anyone: Client, person: Person) -> None:
    secret, old = await with_second_factor(own)
    path = "/api/v1/auth/recovery-codes"
    assert (await own.post(path, json={"password": OTHER_PASSWORD, "otp": code_of(secret)})).status_code == 403
    assert (await own.post(path, json={"password": PASSWORD, "otp": "000000"})).status_code == 401
    made = await own.post(path, json={"password": PASSWORD, "otp": code_of(secret)})
    assert made.status_code == 200
    assert (await log_in(anyone, person, otp=old[0])).status_code == 401
    assert (await log_in(anyone, person, otp=made.json()["recovery_codes"][0])).status_code == 200


async def test_it_is_switched_off_by_password_and_code_only(own: Client, anyone: Client, person: Person) -> None:
    secret, codes = await with_second_factor(own)
    path = "/api/v1/auth/second-factor:disable"
    assert (await own.post(path, json={"password": OTHER_PASSWORD, "otp": code_of(secret)})).status_code == 403
    assert (await own.post(path, json={"password": PASSWORD, "otp": "000000"})).status_code == 401
    assert (await log_in(anyone, person)).json()["code"] == "otp_required"
    assert (await own.post(path, json={"password": PASSWORD, "otp": codes[0]})).status_code == 204
    assert (await log_in(anyone, person)).status_code == 200
    again = await own.post(path, json={"password": PASSWORD, "otp": codes[1]})
    assert (again.status_code, again.json()["code"]) == (409, "second_factor_state")
    shown = (await own.get("/api/v1/auth/account")).json()
    assert (shown["second_factor"], shown["recovery_codes_left"]) == (False, 0)


async def test_a_second_factor_that_is_on_is_not_enrolled_anew(own: Client) -> None:
    """Or whoever holds a session could put his own authenticator in its place."""
    await with_second_factor(own)
    answer = await own.post("/api/v1/auth/second-factor", json={"password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (409, "second_factor_state")
    answer = await own.post("/api/v1/auth/second-factor:confirm", json={"otp": "000000"})
    assert (answer.status_code, answer.json()["code"]) == (409, "second_factor_state")


async def test_nobody_enrols_without_the_password(own: Client) -> None:
    answer = await own.post("/api/v1/auth/second-factor", json={"password": OTHER_PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_password")


async def test_a_code_with_nothing_to_confirm_is_refused(own: Client) -> None:
    answer = await own.post("/api/v1/auth/second-factor:confirm", json={"otp": "123456"})
    assert (answer.status_code, answer.json()["code"]) == (409, "second_factor_state")


async def test_secrets_of_an_enrolment_are_not_kept_for_a_repetition(own: Client) -> None:
    """S202."""
    key = {"Idempotency-Key": "enrol-once"}
    first = await own.post("/api/v1/auth/second-factor", json={"password": PASSWORD}, headers=key)
    assert first.status_code == 200
    again = await own.post("/api/v1/auth/second-factor", json={"password": PASSWORD}, headers=key)
    assert again.status_code == 409
    assert first.json()["secret"] not in again.text


async def test_the_database_holds_neither_seed_nor_codes(app: FastAPI, own: Client, person: Person) -> None:
    """S200, S202."""
    secret, codes = await with_second_factor(own)
    pool = platform_of(app).database.pool
    sealed = await pool.fetchval("select otp_seed from accounts where id = $1", person.account_id)
    assert secret.encode() not in sealed
    kept = [row["hash"] for row in await pool.fetch("select hash from account_recovery_codes")]
    assert all(code.encode() not in kept and code.replace("-", "").encode() not in kept for code in codes)
    assert all(len(each) == 32 for each in kept)


@pytest.mark.parametrize(
    "code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "12345\uff16", "-12345", "1e5000", "000 00"]
)
def test_what_is_no_code_is_never_right(code: str) -> None:
    assert otp_step(make_seed(), code, now()) is None


def test_a_code_is_right_for_its_own_step_and_the_neighbours() -> None:
    seed, moment = make_seed(), now()
    steps = [otp_step(seed, code_of(seed, n), moment) for n in (-2, -1, 0, 1, 2)]
    assert steps[0] is steps[4] is None
    assert steps[1:4] == [steps[2] - 1, steps[2], steps[2] + 1] if steps[2] else False


def test_recovery_codes_are_long_and_unlike_each_other() -> None:
    codes = [code for _ in range(100) for code in make_recovery_codes()]
    assert len(set(codes)) == 1000
    assert {len(code.replace("-", "")) for code in codes} == {16}
    assert len({recovery_hash(code) for code in codes}) == 1000


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_an_ipv6_customer_is_one_place(address: str, place: str) -> None:
    assert subscriber(address) == place
