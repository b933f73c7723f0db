"""Access tokens of other issuers: what they vouch for counts, forgeries are refused (S29, S33, S42; abuse 2 to 10)."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from joserfc.jwk import OctKey
from pydantic import ValidationError

from agent_factory.kit.ids import encode, uuid7
from agent_factory.security.egress import Egress
from agent_factory.security.tokens import AuthSettings, BadToken, Issuers
from agent_factory.security.tokens.jwks import AGAIN, FRESH, IssuerAway, Published
from agent_factory.security.tokens.settings import IssuerSettings
from agent_factory.services.auth.service import Credentials, verifying
from agent_factory.services.auth.service.users import add_user
from agent_factory.settings import Settings
from tests.security.provider import AUDIENCE, Provider, encoded, public_jwk, running_provider
from tests.services.auth.people import (
    CHEAP,
    OTHER_PASSWORD,
    PASSWORD,
    Person,
    join_another,
    make_person,
    platform_of,
    signed_in,
)
from tests.serving import Client, opened, settings_for

ME = "/api/v1/auth/me"
Json = dict[str, Any]


@pytest.fixture(scope="module")
async def provider() -> AsyncGenerator[Provider, None]:
    async with running_provider() as running:
        yield running


@pytest.fixture(scope="module")
async def home(database_url: str) -> AsyncGenerator[Person, None]:
    """The owner of the organisation in which the provider's tokens count."""
    async with opened(settings_for(database_url, passwords=CHEAP)) as app:
        yield await make_person(app, role="organization_owner")


@pytest.fixture(scope="module")
async def app(database_url: str, provider: Provider, home: Person) -> AsyncGenerator[FastAPI, None]:
    auth = AuthSettings(believed_seconds=0, issuers=(trusted(provider, home.organization_id),))
    async with opened(settings_for(database_url, passwords=CHEAP, auth=auth)) as running:
        yield running


def trusted(provider: Provider, organization_id: UUID | None = None, **more: Any) -> IssuerSettings:
    usual = {"issuer": provider.issuer, "audience": AUDIENCE, "jwks_url": f"{provider.issuer}/jwks"}
    return IssuerSettings.model_validate({**usual, "organization": organization_id or uuid7(), **more})


def published(app: FastAPI, provider: Provider) -> Published:
    return platform_of(app).issuers._by_name[provider.issuer]._published


@pytest.fixture(autouse=True)
async def fresh(app: FastAPI, provider: Provider) -> None:
    """Every test begins with the provider's own keys, and with none of them known."""
    await provider.publish()
    forget(published(app, provider))


def forget(known: Published) -> None:
    known._keys, known._known_at, known._tried_at = (), float("-inf"), float("-inf")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def hired(app: FastAPI, home: Person, role: str = "developer", **more: Any) -> Person:
    """Somebody who is a member of the provider's organisation, too."""
    person = await make_person(app, **more)
    async with platform_of(app).database.system() as session:
        user = await add_user(
            session, home.organization_id, email=person.email, name="Ada", role=role, account_id=person.account_id
        )
    return Person(person.email, person.account_id, user.id, home.organization_id)


async def test_a_token_stands_for_the_member_whose_address_its_issuer_vouches_for(
    app: FastAPI, anyone: Client, provider: Provider, home: Person
) -> None:
    """Merge 3: with the rights that the member has now, in the issuer's organisation and no other."""
    person = await hired(app, home)
    await join_another(app, person)
    answer = await anyone.get(ME, headers=bearer(provider.token(person.email.upper())))
    assert answer.status_code == 200, answer.text
    me = answer.json()
    assert (me["user"]["id"], me["organization_id"]) == (
        encode("usr", person.user_id),
        encode("org", home.organization_id),
    )
    assert (me["key_id"], me["session_id"], me["scopes"]) == (None, None, ["*"])
    made = {"name": f"agent-{uuid7().hex[-8:]}", "model": "demo"}
    token = bearer(provider.token(person.email))
    assert (await anyone.post("/api/v1/agents", json=made, headers=token)).status_code == 201
    await platform_of(app).database.pool.execute("update users set role = 'viewer' where id = $1", person.user_id)
    made["name"] += "-2"
    assert (await anyone.post("/api/v1/agents", json=made, headers=token)).status_code == 403


async def test_the_audit_trail_says_who_vouched(app: FastAPI, anyone: Client, provider: Provider, home: Person) -> None:
    """S196: for what was done, and for what was refused."""
    person = await hired(app, home)
    token = bearer(provider.token(person.email))
    made = {"name": f"agent-{uuid7().hex[-8:]}", "model": "demo"}
    assert (await anyone.post("/api/v1/agents", json=made, headers=token)).status_code == 201
    await platform_of(app).database.pool.execute("update users set role = 'viewer' where id = $1", person.user_id)
    assert (await anyone.post("/api/v1/agents", json=made, headers=token)).status_code == 403
    rows = await platform_of(app).database.pool.fetch(
        "select outcome, details, session_id, key_id from audit_events where user_id = $1 order by id", person.user_id
    )
    assert [(row["outcome"], row["session_id"], row["key_id"]) for row in rows] == [
        ("succeeded", None, None),
        ("refused", None, None),
    ]
    assert [json.loads(row["details"])["issuer"] for row in rows] == [provider.issuer] * 2


async def test_nobody_comes_to_be_by_a_token(app: FastAPI, anyone: Client, provider: Provider) -> None:
    email = f"new-{uuid7().hex}@example.com"
    assert (await anyone.get(ME, headers=bearer(provider.token(email)))).status_code == 401
    pool = platform_of(app).database.pool
    assert await pool.fetchval("select count(*) from accounts where email = $1", email) == 0


@pytest.mark.parametrize("why", ["a stranger", "disabled here", "disabled everywhere", "never confirmed here"])
async def test_who_is_no_active_member_with_a_confirmed_address_stays_out(
    app: FastAPI, anyone: Client, provider: Provider, home: Person, why: str
) -> None:
    """Whoever the issuer vouches for, it reaches into no other organisation."""
    person = await (make_person(app) if why == "a stranger" else hired(app, home, verified="never" not in why))
    pool = platform_of(app).database.pool
    if why == "disabled here":
        await pool.execute("update users set status = 'disabled' where id = $1", person.user_id)
    if why == "disabled everywhere":
        await pool.execute("update accounts set disabled_at = now() where id = $1", person.account_id)
    answer = await anyone.get(ME, headers=bearer(provider.token(person.email)))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_access_token")


@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        ({"scope": "openid agent:read"}, ["agent:read"]),
        ({"scope": "openid profile email"}, []),
        ({"scope": ""}, []),
        ({"scp": ["agent:read", "agent:run", 7]}, ["agent:read", "agent:run"]),
        ({"scope": "agent:*", "scp": "agent:* workflow:*"}, ["agent:*"]),
        ({"scope": "*"}, ["*"]),
        ({"scope": "agent:read\tworkflow:read"}, []),
        ({}, ["*"]),
    ],
)
async def test_scopes_narrow_what_a_token_may_be_used_for(
    app: FastAPI, anyone: Client, provider: Provider, home: Person, said: Json, scopes: list[str]
) -> None:
    person = await hired(app, home)
    answer = await anyone.get(ME, headers=bearer(provider.token(person.email, **said)))
    assert (answer.status_code, answer.json()["scopes"]) == (200, scopes)


async def test_a_scope_gives_nothing_that_the_member_has_not(
    app: FastAPI, anyone: Client, provider: Provider, home: Person
) -> None:
    """Abuse 46."""
    person = await hired(app, home, role="viewer")
    token = bearer(provider.token(person.email, scope="*", role="admin", roles=["admin"], groups=["admin"]))
    assert (await anyone.post("/api/v1/agents", json={"name": "x", "model": "demo"}, headers=token)).status_code == 403
    narrow = bearer(provider.token(person.email, scope="agent:read"))
    close = await anyone.post("/api/v1/auth/account:close", json={"password": PASSWORD}, headers=narrow)
    assert close.status_code == 403


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"])
async def test_every_asymmetric_algorithm_of_the_vendors_is_read(
    app: FastAPI, anyone: Client, provider: Provider, home: Person, algorithm: str
) -> None:
    curves: dict[str, Any] = {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "ES384": ec.generate_private_key(ec.SECP384R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    private = curves.get(algorithm, provider.private)
    await provider.publish(public_jwk(private, "another"))
    header = provider.header(alg=algorithm, kid="another", typ="at+jwt", x5t="thumbprint")
    token = provider.signed(header, provider.claims((await hired(app, home)).email), private)
    assert (await anyone.get(ME, headers=bearer(token))).status_code == 200


class Forge:
    """A good token of the provider, and all that its forger knows."""

    def __init__(self, provider: Provider, email: str, own: str) -> None:
        self.provider, self.email, self.own = provider, email, own
        self.header, self.claims = provider.header(), provider.claims(email)
        self.token = provider.signed(self.header, self.claims)
        self.head, self.body, self.mark = self.token.split(".")

    def headed(self, **more: Any) -> str:
        return self.provider.signed(self.provider.header(**more), self.claims)

    def claiming(self, **more: Any) -> str:
        return self.provider.token(self.email, **more)

    def by_hmac(self, secret: bytes) -> str:
        said = f"{encoded(json.dumps({**self.header, 'alg': 'HS256'}).encode())}.{self.body}"
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(said.encode())
        return f"{said}.{encoded(mac.finalize())}"

    def public(self) -> bytes:
        return self.provider.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def worded(self, old: str, new: str) -> str:
        """Sign claims of which a part of the text was replaced."""
        text = json.dumps(self.claims)
        assert old in text
        return self.provider.signed(self.header, text.replace(old, new).encode())

    def unsigned(self, algorithm: str, mark: str) -> str:
        return f"{encoded(json.dumps({**self.header, 'alg': algorithm}).encode())}.{self.body}.{mark}"


OTHER = rsa.generate_private_key(65537, 2048)
NOW = int(time.time())

FORGERIES: dict[str, Callable[[Forge], str]] = {
    "alg none": lambda f: f.unsigned("none", ""),
    "alg NoNe with the old signature": lambda f: f.unsigned("NoNe", f.mark),
    "alg missing": lambda f: f.headed(alg=None),
    "alg as a list": lambda f: f.headed(alg=["RS256"]),
    "HS256 with the public key": lambda f: f.by_hmac(f.public()),
    "HS256 with the modulus": lambda f: f.by_hmac(
        base64.urlsafe_b64decode(public_jwk(f.provider.private, "x")["n"] + "==")
    ),
    "an algorithm that the key is not for": lambda f: f.headed(alg="RS512"),
    "PS256 with a key for RS256": lambda f: f.headed(alg="PS256"),
    "ES256 by name only": lambda f: f.unsigned("ES256", f.mark),
    "another's key under the kid": lambda f: f.provider.signed(f.header, f.claims, OTHER),
    "a key of its own in jwk": lambda f: f.provider.signed(
        {**f.header, "jwk": public_jwk(OTHER, "key-1")}, f.claims, OTHER
    ),
    "jwk with the right key": lambda f: f.headed(jwk=public_jwk(f.provider.private, "key-1")),
    "jku": lambda f: f.headed(jku="http://127.0.0.1:9/keys"),
    "x5u": lambda f: f.headed(x5u="http://127.0.0.1:9/keys"),
    "x5c": lambda f: f.headed(x5c=["MIIB"]),
    "crit": lambda f: f.headed(crit=["exp"]),
    "b64 false": lambda f: f.headed(b64=False, crit=["b64"]),
    "b64 false without crit": lambda f: f.headed(b64=False),
    "zip": lambda f: f.headed(zip="DEF"),
    "a token inside of a token": lambda f: f.headed(cty="JWT"),
    "kid missing": lambda f: f.headed(kid=None),
    "kid unknown": lambda f: f.headed(kid="key-2"),
    "kid as a path": lambda f: f.headed(kid="../../../dev/null"),
    "kid as a list": lambda f: f.headed(kid=["key-1"]),
    "kid empty": lambda f: f.headed(kid=""),
    "kid with a NUL": lambda f: f.headed(kid="key-1\0"),
    "kid beyond all bounds": lambda f: f.headed(kid="k" * 1000),
    "typ missing": lambda f: f.headed(typ=None),
    "typ of a logout token": lambda f: f.headed(typ="logout+jwt"),
    "typ of a DPoP proof": lambda f: f.headed(typ="dpop+jwt"),
    "a header that stands twice": lambda f: f.provider.signed(
        json.dumps(f.header).replace('"alg"', '"alg": "none", "alg"', 1).encode(), f.claims
    ),
    "no signature": lambda f: f"{f.head}.{f.body}.",
    "a signature of zeros": lambda f: f"{f.head}.{f.body}.{encoded(bytes(256))}",
    "a signature with more behind it": lambda f: f"{f.token}AAAA",
    "a signature that is not written canonically": lambda f: f.token[:-1] + chr(ord(f.token[-1]) + 1),
    "padding": lambda f: f"{f.token}==",
    "a NUL behind it": lambda f: f"{f.token}\0",
    "claims changed after signing": lambda f: (
        f"{f.head}.{encoded(json.dumps({**f.claims, 'email': 'eve@example.com'}).encode())}.{f.mark}"
    ),
    "four parts": lambda f: f"{f.token}.x",
    "exp missing": lambda f: f.claiming(exp=None),
    "exp as text": lambda f: f.claiming(exp=str(NOW + 300)),
    "exp true": lambda f: f.claiming(exp=True),
    "exp beyond all numbers": lambda f: f.worded(f'"exp": {f.claims["exp"]}', '"exp": 1e999'),
    "exp infinite": lambda f: f.worded(f'"exp": {f.claims["exp"]}', '"exp": Infinity'),
    "exp of too many digits": lambda f: f.worded(f'"exp": {f.claims["exp"]}', '"exp": ' + "9" * 5000),
    "exp as a fraction": lambda f: f.claiming(exp=NOW + 300.5),
    "exp past, beyond the leeway": lambda f: f.claiming(iat=NOW - 400, exp=NOW - 61),
    "iat in the future": lambda f: f.claiming(iat=NOW + 10_000, exp=NOW + 20_000),
    "iat negative": lambda f: f.claiming(iat=-1),
    "nbf in the future": lambda f: f.claiming(nbf=NOW + 10_000, exp=NOW + 20_000),
    "exp before iat": lambda f: f.claiming(iat=NOW + 20, exp=NOW + 10),
    "aud of somebody else": lambda f: f.claiming(aud="https://other.example.com"),
    "aud missing": lambda f: f.claiming(aud=None),
    "aud that begins like ours": lambda f: f.claiming(aud=AUDIENCE + ".evil.example"),
    "aud that holds ours": lambda f: f.claiming(aud=f"x {AUDIENCE}"),
    "aud as an object": lambda f: f.claiming(aud={AUDIENCE: True}),
    "aud as a list of others": lambda f: f.claiming(aud=["a", "b"]),
    "aud as a mixed list": lambda f: f.claiming(aud=[AUDIENCE, 1]),
    "aud twice": lambda f: f.worded('"aud"', '"aud": "https://other.example.com", "aud"'),
    "iss that begins like it": lambda f: f.claiming(iss=f.claims["iss"] + ".evil.example"),
    "iss with a slash more": lambda f: f.claiming(iss=f.claims["iss"] + "/"),
    "iss as a list": lambda f: f.claiming(iss=[f.claims["iss"]]),
    "iss twice": lambda f: f.worded('"iss"', '"iss": "agent-factory", "iss"'),
    "iss of our own installation": lambda f: f.claiming(iss="agent-factory"),
    "our own token under its name": lambda f: f.own,
    "an ID token with a nonce": lambda f: f.claiming(nonce="n"),
    "an ID token with at_hash": lambda f: f.claiming(at_hash="h"),
    "an ID token with azp alone": lambda f: f.claiming(client_id=None),
    "an ID token that says so": lambda f: f.claiming(typ="ID", scope="agent:read"),
    "a refresh token": lambda f: f.claiming(typ="Refresh", scope="agent:read"),
    "an ID token of Cognito": lambda f: f.claiming(token_use="id"),
    "a token that is bound to a key": lambda f: f.claiming(cnf={"jkt": "thumbprint"}),
    "email missing": lambda f: f.claiming(email=None),
    "email not verified": lambda f: f.claiming(email_verified=False),
    "email verified by silence": lambda f: f.claiming(email_verified=None),
    "email verified by a word": lambda f: f.claiming(email_verified="true"),
    "email verified by a number": lambda f: f.claiming(email_verified=1),
    "email as a list": lambda f: f.claiming(email=[f.email]),
    "email with a NUL": lambda f: f.claiming(email=f"{f.email}\0"),
    "email with spaces": lambda f: f.claiming(email=f" {f.email} "),
    "email of a lookalike": lambda f: f.claiming(email=f.email.replace("example", "ex\u0430mple")),
    "email twice": lambda f: f.worded('"email"', '"email": "eve@example.com", "email"'),
    "scope as a number": lambda f: f.claiming(scope=7),
    "claims that are no object": lambda f: f.provider.signed(f.header, [1]),
    "claims that are no JSON": lambda f: f.provider.signed(f.header, b"{"),
    "claims in UTF-16": lambda f: f.provider.signed(f.header, json.dumps(f.claims).encode("utf-16")),
    "claims that nest without end": lambda f: f.provider.signed(f.header, b'{"a":' * 500 + b"[" * 3000),
}


@pytest.fixture
async def forge(app: FastAPI, anyone: Client, provider: Provider, home: Person) -> Forge:
    """A person of the organisation, with an own token that our own key signed under the provider's name."""
    person = await hired(app, home)
    own = await signed_in(app, anyone, person)
    tokens = platform_of(app).tokens
    rules, tokens._rules = tokens._rules, type(tokens._rules)(provider.issuer, AUDIENCE, 600)
    said = json.loads(base64.urlsafe_b64decode(own.headers["authorization"].split(".")[1] + "=="))
    from agent_factory.security.tokens.signed import Claims  # noqa: PLC0415 - only here

    subject = Claims(**said).subject()
    token = await tokens.issue(subject)
    tokens._rules = rules
    await own.aclose()
    return Forge(provider, person.email, token)


async def test_what_the_forgeries_are_made_of_is_good(anyone: Client, forge: Forge) -> None:
    good = (
        forge.token,
        forge.headed(),
        forge.claiming(),
        forge.claiming(aud=["account", AUDIENCE]),
        forge.claiming(nonce="n", typ="Bearer"),
        forge.claiming(iat=None, nbf=NOW - 5),
        forge.claiming(iat=NOW - 300, exp=int(time.time()) - 5),
        forge.headed(typ="application/at+jwt"),
    )
    for token in good:
        answer = await anyone.get(ME, headers=bearer(token))
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forgery_is_refused_and_told_nothing(anyone: Client, forge: Forge, name: str) -> None:
    answer = await anyone.get(ME, headers=bearer(FORGERIES[name](forge)))
    assert answer.status_code == 401, name
    assert answer.headers["www-authenticate"].lower().startswith("bearer")
    assert "kid" not in answer.text
    assert forge.email not in answer.text


@pytest.mark.parametrize("member", ["jku", "x5u"])
async def test_no_key_is_fetched_from_where_a_token_says(
    anyone: Client, provider: Provider, forge: Forge, member: str
) -> None:
    """Abuse 4: not even from the issuer itself."""
    await provider.answer("/elsewhere", json.dumps({"keys": [public_jwk(OTHER, "key-9")]}).encode())
    header = provider.header(kid="key-9", **{member: f"{provider.issuer}/elsewhere"})
    answer = await anyone.get(ME, headers=bearer(provider.signed(header, forge.claims, OTHER)))
    assert answer.status_code == 401
    assert await provider.asked("/elsewhere") == 0


SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the test
WEAK: dict[str, Callable[[Provider], Json]] = {
    "a secret": lambda _: {**OctKey.import_key(b"s" * 32).as_dict(), "kid": "key-1"},
    "a key for encryption": lambda p: public_jwk(p.private, "key-1", use="enc"),
    "a key for signing only": lambda p: public_jwk(p.private, "key-1", key_ops=["sign"]),
    "a key for another algorithm": lambda p: public_jwk(p.private, "key-1", alg="RS512"),
    "a key with its private part": lambda p: public_jwk(p.private, "key-1", d="AQAB"),
    "a key whose algorithm is a list": lambda p: public_jwk(p.private, "key-1", alg=["RS256"]),
    "a key whose type is a list": lambda p: public_jwk(p.private, "key-1", kty=["RSA"]),
    "a curve that is none": lambda _: {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ", "kid": "key-1"},
    "an exponent of one": lambda p: public_jwk(p.private, "key-1", e="AQ"),
    "no object": lambda _: {"kid": "key-1"},
}


@pytest.mark.parametrize("name", WEAK)
async def test_a_key_that_is_weak_or_for_something_else_verifies_nothing(
    app: FastAPI, anyone: Client, provider: Provider, home: Person, name: str
) -> None:
    good = public_jwk(provider.private, "good")
    await provider.publish(WEAK[name](provider), good)
    person = await hired(app, home)
    claims = provider.claims(person.email)
    assert (await anyone.get(ME, headers=bearer(provider.signed(provider.header(), claims)))).status_code == 401
    token = provider.signed(provider.header(kid="good"), claims)
    assert (await anyone.get(ME, headers=bearer(token))).status_code == 200, "its neighbour is as good as before"


async def test_a_key_of_fewer_than_2048_bits_verifies_nothing_though_it_signed(
    app: FastAPI, anyone: Client, provider: Provider, home: Person
) -> None:
    modulus = encoded(SHORT.public_key().public_numbers().n.to_bytes(128))
    await provider.publish(public_jwk(provider.private, "key-1", n=modulus))
    token = provider.signed(provider.header(), provider.claims((await hired(app, home)).email), SHORT)
    assert (await anyone.get(ME, headers=bearer(token))).status_code == 401


async def test_of_two_keys_with_one_name_neither_counts(
    app: FastAPI, anyone: Client, provider: Provider, home: Person
) -> None:
    await provider.publish(public_jwk(OTHER, "key-1"), public_jwk(provider.private, "key-1"))
    token = provider.token((await hired(app, home)).email)
    assert (await anyone.get(ME, headers=bearer(token))).status_code == 401


async def test_a_rotation_of_the_issuers_keys_is_followed(
    app: FastAPI, anyone: Client, provider: Provider, home: Person
) -> None:
    """S29: the next key counts at its first token, the withdrawn one no longer once the keys are fetched anew."""
    person = await hired(app, home)
    before = provider.token(person.email)
    assert (await anyone.get(ME, headers=bearer(before))).status_code == 200
    claims = provider.claims(person.email)
    after = provider.signed(provider.header(kid="key-2"), claims, OTHER)
    await provider.publish(public_jwk(OTHER, "key-2"), public_jwk(provider.private, "key-1"))
    known = published(app, provider)
    known._tried_at -= AGAIN
    assert (await anyone.get(ME, headers=bearer(after))).status_code == 200
    assert (await anyone.get(ME, headers=bearer(before))).status_code == 200
    await provider.publish(public_jwk(OTHER, "key-2"))
    known._tried_at -= FRESH
    known._known_at -= FRESH
    assert (await anyone.get(ME, headers=bearer(after))).status_code == 200
    if known._fetching is not None:
        await known._fetching
    assert (await anyone.get(ME, headers=bearer(before))).status_code == 401


async def test_many_first_tokens_make_one_fetch(app: FastAPI, anyone: Client, provider: Provider, home: Person) -> None:
    person = await hired(app, home)
    asked = await provider.asked()
    tokens = [bearer(provider.token(person.email, jti=str(n))) for n in range(30)]
    answers = await asyncio.gather(*(anyone.get(ME, headers=token) for token in tokens))
    assert {answer.status_code for answer in answers} == {200}
    assert await provider.asked() == asked + 1


async def test_tokens_with_unknown_keys_make_one_fetch_a_minute(
    app: FastAPI, anyone: Client, provider: Provider, home: Person
) -> None:
    person = await hired(app, home)
    asked = await provider.asked()
    for n in range(20):
        token = provider.signed(provider.header(kid=f"made-up-{n}"), provider.claims(person.email), OTHER)
        assert (await anyone.get(ME, headers=bearer(token))).status_code == 401
    assert await provider.asked() == asked + 1
    assert (await anyone.get(ME, headers=bearer(provider.token(person.email)))).status_code == 200


BROKEN: dict[str, tuple[int, bytes]] = {
    "an error": (500, b"{}"),
    "no JSON": (200, b"<html>"),
    "a list": (200, b"[]"),
    "no keys": (200, b'{"keys": 1}'),
    "too many keys": (200, json.dumps({"keys": [{}] * 101}).encode()),
    "too much": (200, b'{"keys": [], "x": "' + b"x" * 300_000 + b'"}'),
    "an abyss": (200, b"[" * 100_000),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_while_an_issuer_answers_nonsense_known_keys_go_on_for_an_hour_and_then_no_more(
    app: FastAPI, anyone: Client, provider: Provider, home: Person, name: str
) -> None:
    person = await hired(app, home)
    token = bearer(provider.token(person.email))
    assert (await anyone.get(ME, headers=token)).status_code == 200
    status, body = BROKEN[name]
    await provider.answer("/jwks", body, status=status)
    known = published(app, provider)
    known._known_at = known._tried_at = time.monotonic() - FRESH - 3599
    assert (await anyone.get(ME, headers=token)).status_code == 200
    if known._fetching is not None:
        await known._fetching
    known._known_at = known._tried_at = time.monotonic() - FRESH - 3601
    refused = await anyone.get(ME, headers=token)
    assert (refused.status_code, refused.json()["code"]) == (503, "issuer_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    asked = await provider.asked()
    assert (await anyone.get(ME, headers=token)).status_code == 503
    assert await provider.asked() == asked, "it is left in peace for a minute"
    await provider.publish()
    known._tried_at -= AGAIN
    assert (await anyone.get(ME, headers=token)).status_code == 200


async def verified(provider: Provider, settings: IssuerSettings, token: str | None = None) -> str:
    """Verify a token in a process of its own; gives the address that it vouches for."""
    egress = Egress()
    issuers = Issuers(AuthSettings(issuers=(settings,)), egress)
    said = token or provider.token("ada@example.com")
    try:
        issuer = issuers.of(said)
        assert issuer is not None
        return (await issuer.verify(said)).email
    finally:
        await issuers.close()
        await egress.close()


async def test_keys_are_found_by_the_issuers_own_configuration(provider: Provider) -> None:
    path = "/.well-known/openid-configuration"
    document = {"issuer": provider.issuer, "jwks_uri": f"{provider.issuer}/jwks"}
    await provider.answer(path, json.dumps(document).encode())
    settings = trusted(provider, jwks_url=None)
    assert await verified(provider, settings) == "ada@example.com"
    for wrong in (
        {"issuer": f"{provider.issuer}/"},
        {"issuer": "https://evil.example"},
        {"jwks_uri": None},
        {"jwks_uri": "http://10.0.0.1/jwks"},
        {"jwks_uri": "https://10.0.0.1/jwks"},
        {"jwks_uri": "https://169.254.169.254/latest/meta-data"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://user:word@example.com/jwks"},
    ):
        await provider.answer(path, json.dumps({**document, **wrong}).encode())
        with pytest.raises(IssuerAway):
            await verified(provider, settings)


async def test_no_redirect_is_followed_to_keys(provider: Provider) -> None:
    """Abuse 59."""
    await provider.answer("/moved", b"", status=302, Location=f"{provider.issuer}/jwks")
    asked = await provider.asked()
    with pytest.raises(IssuerAway):
        await verified(provider, trusted(provider, jwks_url=f"{provider.issuer}/moved"))
    assert await provider.asked() == asked


async def test_other_claims_can_hold_the_address_and_the_scopes(provider: Provider) -> None:
    settings = trusted(provider, email_claim="upn", verified_claim="xms_edov", scopes_claims=[])
    token = provider.token("eve@example.com", upn="ada@example.com", xms_edov=True, scope="openid")
    assert await verified(provider, settings, token) == "ada@example.com"
    with pytest.raises(BadToken):
        await verified(provider, settings)


async def test_an_expired_token_is_not_believed_beyond_its_end(
    app: FastAPI, provider: Provider, home: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await hired(app, home)
    platform = platform_of(app)
    monkeypatch.setattr(platform.tokens, "settings", AuthSettings(believed_seconds=5))
    ring = Credentials(platform.database, platform.tokens, platform.issuers)
    token = provider.token(person.email, iat=NOW - 300, exp=int(time.time()) - 29)
    await ring.verify(token)
    (known,) = ring._verified.values()
    assert known.until - time.monotonic() <= 1
    await ring.close()


async def test_a_disabled_member_is_refused_in_every_process_within_five_seconds(
    app: FastAPI, provider: Provider, home: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Abuse 13."""
    person = await hired(app, home)
    token = provider.token(person.email)
    clock = time.monotonic()
    monkeypatch.setattr(verifying.time, "monotonic", lambda: clock)
    platform = platform_of(app)
    monkeypatch.setattr(platform.tokens, "settings", AuthSettings(believed_seconds=5))
    rings = [Credentials(platform.database, platform.tokens, platform.issuers) for _ in range(2)]
    for ring in rings:
        assert (await ring.verify(token)).user_id == person.user_id
    await platform.database.pool.execute("update users set status = 'disabled' where id = $1", person.user_id)
    clock += 5.01
    for ring in rings:
        with pytest.raises(BadToken):
            await ring.verify(token)
        await ring.close()


async def test_a_short_token_makes_no_password_that_outlasts_it(
    app: FastAPI, anyone: Client, provider: Provider, home: Person
) -> None:
    person = await hired(app, home, password=None)
    token = bearer(provider.token(person.email))
    refused = await anyone.post("/api/v1/auth/password", json={"password": OTHER_PASSWORD}, headers=token)
    assert (refused.status_code, refused.json()["code"]) == (409, "no_session")


async def test_a_token_of_some_size_is_read_and_one_without_end_is_not(
    app: FastAPI, anyone: Client, provider: Provider, home: Person
) -> None:
    person = await hired(app, home)
    for size, status in ((3000, 200), (9000, 401)):
        token = provider.token(person.email, groups=["x" * size])
        assert (await anyone.get(ME, headers=bearer(token))).status_code == status


ISSUER = {"issuer": "https://login.example.com", "audience": "x", "organization": encode("org", uuid7())}


@pytest.mark.parametrize(
    "wrong",
    [
        [{**ISSUER, "issuer": "agent-factory", "jwks_url": "https://login.example.com/jwks"}],
        [{**ISSUER, "issuer": "Agent-Factory/", "jwks_url": "https://login.example.com/jwks"}],
        [ISSUER, ISSUER],
        [ISSUER, {**ISSUER, "issuer": "https://LOGIN.example.com/"}],
        [{**ISSUER, "issuer": "login"}],
        [{**ISSUER, "issuer": "http://login.example.com"}],
        [{**ISSUER, "jwks_url": "http://login.example.com/jwks"}],
        [{**ISSUER, "jwks_url": "file:///jwks"}],
        [{**ISSUER, "jwks_url": "https://user:word@login.example.com/jwks"}],
        [{**ISSUER, "audience": ""}],
        [{**ISSUER, "organization": "usr_x"}],
        [{**ISSUER, "organization": str(uuid7())}],
        [{**ISSUER, "leeway": 61}],
        [{**ISSUER, "algorithms": ["HS256"]}],
    ],
)
def test_a_setting_that_would_let_anybody_in_is_refused(wrong: list[Json], monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody can be made to speak in our own issuer's name."""
    monkeypatch.setenv("AF_AUTH__ISSUERS", json.dumps([ISSUER]))
    assert len(Settings().auth.issuers) == 1
    monkeypatch.setenv("AF_AUTH__ISSUERS", json.dumps(wrong))
    with pytest.raises(ValidationError):
        Settings()
