"""Access tokens: what is ours and in time is believed, every forgery is refused alike (S29; abuse 2 to 10)."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from joserfc.jwk import ECKey

from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.kit import ids
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.security.encryption import EncryptionSettings, Vault, open_vault
from agent_factory.security.tokens import AuthSettings, BadToken, Subject, Tokens
from agent_factory.security.tokens import tokens as of_tokens
from tests.security.conftest import Server
from tests.services.auth.people import log_in, make_person
from tests.serving import Client, client_of

Json = dict[str, Any]

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of the curve P-256 (SEC 2, 2.4.2)."""


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(part: str) -> Json:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def written(part: Any) -> bytes:
    """Write JSON as our own tokens do."""
    return json.dumps(part, separators=(",", ":")).encode()


class Forge:
    """A good token, taken apart, and the key that signed it."""

    def __init__(self, token: str, key: ECKey, refresh: str) -> None:
        self.token, self.refresh = token, refresh
        self.head, self.body, self.mark = token.split(".")
        self.header, self.claims = decoded(self.head), decoded(self.body)
        private = key.private_key
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        self.private = private

    def signed(self, header: Any = None, claims: Any = None, private: ec.EllipticCurvePrivateKey | None = None) -> str:
        """Sign whatever it is with a private key, by default the right one."""
        said = ".".join(
            encoded(part if isinstance(part, bytes) else written(part))
            for part in (self.header if header is None else header, self.claims if claims is None else claims)
        )
        r, s = decode_dss_signature((private or self.private).sign(said.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{said}.{encoded(r.to_bytes(32) + s.to_bytes(32))}"

    def headed(self, **more: Any) -> str:
        """Sign with another header; None leaves a member out."""
        return self.signed(header={k: v for k, v in {**self.header, **more}.items() if v is not None})

    def claiming(self, **more: Any) -> str:
        """Sign other claims; None leaves one out."""
        return self.signed(claims={k: v for k, v in {**self.claims, **more}.items() if v is not None})

    def unsigned(self, algorithm: str, mark: str = "") -> str:
        return f"{encoded(json.dumps({**self.header, 'alg': algorithm}).encode())}.{self.body}.{mark}"

    def by_hmac(self, secret: bytes) -> str:
        said = f"{encoded(json.dumps({**self.header, 'alg': 'HS256'}).encode())}.{self.body}"
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(said.encode())
        return f"{said}.{encoded(mac.finalize())}"

    def by_rsa(self) -> str:
        said = f"{encoded(json.dumps({**self.header, 'alg': 'RS256'}).encode())}.{self.body}"
        key = rsa.generate_private_key(65537, 2048)
        return f"{said}.{encoded(key.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def by_der(self) -> str:
        said = f"{self.head}.{self.body}"
        return f"{said}.{encoded(self.private.sign(said.encode(), ec.ECDSA(hashes.SHA256())))}"

    def public(self, form: PublicFormat, encoding: Encoding) -> bytes:
        return self.private.public_key().public_bytes(encoding, form)


NOWHERE = "http://127.0.0.1:9/keys"
OTHER = ec.generate_private_key(ec.SECP256R1())
OTHER_JWK = ECKey.import_key(OTHER).as_dict(private=False)
LATER = 10**4

FORGERIES: dict[str, Callable[[Forge], str]] = {
    "alg none": lambda f: f.unsigned("none"),
    "alg NoNe": lambda f: f.unsigned("NoNe"),
    "alg none with the old signature": lambda f: f.unsigned("none", f.mark),
    "alg missing": lambda f: f.headed(alg=None),
    "alg ES384 by name only": lambda f: f.headed(alg="ES384"),
    "HS256 with the public key as PEM": lambda f: f.by_hmac(f.public(PublicFormat.SubjectPublicKeyInfo, Encoding.PEM)),
    "HS256 with the public key as a point": lambda f: f.by_hmac(
        f.public(PublicFormat.UncompressedPoint, Encoding.X962)
    ),
    "RS256 with another's key": Forge.by_rsa,
    "another's key under our kid": lambda f: f.signed(private=OTHER),
    "a key of its own in jwk": lambda f: f.signed({**f.header, "jwk": OTHER_JWK}, private=OTHER),
    "jwk with our own key": lambda f: f.headed(jwk=OTHER_JWK),
    "jku": lambda f: f.headed(jku=NOWHERE),
    "x5u": lambda f: f.headed(x5u=NOWHERE),
    "x5c": lambda f: f.headed(x5c=["MIIB"]),
    "kid missing": lambda f: f.headed(kid=None),
    "kid as a path": lambda f: f.headed(kid="../../../dev/null"),
    "kid as SQL": lambda f: f.headed(kid="' UNION SELECT 'x' --"),
    "kid as a list": lambda f: f.headed(kid=[f.header["kid"]]),
    "kid unknown": lambda f: f.headed(kid="A" * 43),
    "typ missing": lambda f: f.headed(typ=None),
    "typ of an ID token": lambda f: f.headed(typ="JWT"),
    "crit with something unknown": lambda f: f.headed(crit=["exp", "b64"], b64=False),
    "no signature": lambda f: f"{f.head}.{f.body}.",
    "a signature of zeros": lambda f: f"{f.head}.{f.body}.{encoded(bytes(64))}",
    "a signature of the group's order": lambda f: f"{f.head}.{f.body}.{encoded(ORDER.to_bytes(32) * 2)}",
    "a signature in DER": Forge.by_der,
    "claims changed after signing": lambda f: (
        f"{f.head}.{encoded(json.dumps({**f.claims, 'exp': f.claims['exp'] + 60}).encode())}.{f.mark}"
    ),
    "exp missing": lambda f: f.claiming(exp=None),
    "exp as text": lambda f: f.claiming(exp=str(f.claims["exp"])),
    "exp beyond all numbers": lambda f: f.signed(
        claims=json.dumps(f.claims).replace(str(f.claims["exp"]), "1e999").encode()
    ),
    "exp as a fraction": lambda f: f.claiming(exp=f.claims["exp"] + 0.5),
    "exp far away": lambda f: f.claiming(exp=f.claims["exp"] + LATER),
    "exp in the past": lambda f: f.claiming(iat=1, nbf=1, exp=601),
    "exp before iat": lambda f: f.claiming(exp=f.claims["iat"] - 1),
    "nbf in the future": lambda f: f.claiming(nbf=int(time.time()) + LATER),
    "iat in the future": lambda f: f.claiming(
        iat=int(time.time()) + LATER, nbf=int(time.time()) + LATER, exp=int(time.time()) + LATER + 600
    ),
    "aud of somebody else": lambda f: f.claiming(aud="another-product"),
    "aud as a list": lambda f: f.claiming(aud=[f.claims["aud"], "another-product"]),
    "iss of somebody else": lambda f: f.claiming(iss="https://evil.example"),
    "iss that begins like ours": lambda f: f.claiming(iss=f.claims["iss"] + ".evil.example"),
    "sub of another kind": lambda f: f.claiming(sub=f.claims["org"]),
    "sub of nobody": lambda f: f.claiming(sub=ids.encode("usr", uuid7())),
    "org of another": lambda f: f.claiming(org=ids.encode("org", uuid7())),
    "sid of no session": lambda f: f.claiming(sid=ids.encode("lgn", uuid7())),
    "a claim that means nothing": lambda f: f.claiming(role="admin"),
    "claims that are no object": lambda f: f.signed(claims=[1]),
    "claims that are no JSON": lambda f: f.signed(claims=b"{"),
    "four parts": lambda f: f.token + ".x",
    "the refresh token": lambda f: f.refresh,
    "b64 false": lambda f: f.headed(b64=False),
    "zip": lambda f: f.headed(zip="DEF"),
    "a token inside of a token": lambda f: f.headed(cty="JWT"),
    "a nested token as the claims": lambda f: f.signed(claims=f.token.encode()),
    "kid beyond all bounds": lambda f: f.headed(kid="A" * 7000),
    "kid with a NUL": lambda f: f.headed(kid=f.header["kid"][:-1] + "\0"),
    "a header that stands twice": lambda f: f.signed(
        header=written(f.header).replace(b'"alg"', b'"alg":"none","alg"', 1)
    ),
    "a header in UTF-16": lambda f: f.signed(header=json.dumps(f.header).encode("utf-16")),
    "a claim that stands twice": lambda f: f.signed(
        claims=written(f.claims).replace(b'"org"', b'"org":"org_x","org"', 1)
    ),
    "claims with spaces between them": lambda f: f.signed(claims=json.dumps(f.claims).encode()),
    "claims in another order": lambda f: f.signed(claims=dict(reversed(f.claims.items()))),
    "claims that nest without end": lambda f: f.signed(claims=b'{"iss":' + b"[" * 4000),
    "iat negative": lambda f: f.claiming(iat=-1),
    "exp true": lambda f: f.claiming(exp=True),
    "exp of too many digits": lambda f: f.signed(
        claims=written(f.claims).replace(str(f.claims["exp"]).encode(), b"9" * 5000)
    ),
    "sub with a NUL": lambda f: f.claiming(sub=f.claims["sub"] + "\0"),
    "sub in another spelling": lambda f: f.claiming(sub=f.claims["sub"].upper()),
    "a signature that is not written canonically": lambda f: f.token[:-1] + chr(ord(f.token[-1]) + 1),
    "a signature with more behind it": lambda f: f"{f.token}AAAA",
    "padding": lambda f: f"{f.token}==",
    "a line break behind it": lambda f: f"{f.head}.{f.body}.{f.mark[:-1]}\t",
    "longer than any": lambda f: f.claiming(jti="x" * 9000),
}


@pytest.fixture(scope="module")
async def forge(app: FastAPI) -> Forge:
    person = await make_person(app)
    async with client_of(app) as anyone:
        given = (await log_in(anyone, person)).json()
    tokens: Tokens = app.state.platform.tokens
    return Forge(given["access_token"], await tokens._opened(await tokens._signer()), given["refresh_token"])


@pytest.fixture
async def fresh_database(fresh_database_url: str) -> AsyncGenerator[Database, None]:
    """A database of the test's own, in which no key was made yet."""
    opened = Database(fresh_database_url, DatabaseSettings())
    yield opened
    await opened.close()


@pytest.fixture
def fresh_vault(fresh_database: Database, tmp_path: Path) -> Vault:
    return open_vault(EncryptionSettings(), fresh_database.pool, tmp_path)


async def test_what_the_forgeries_are_made_of_is_good(anyone: Client, forge: Forge) -> None:
    for token in (forge.token, forge.signed(), forge.claiming(jti="another")):
        answer = await anyone.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["session_id"] == forge.claims["sid"]


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forgery_is_refused_and_told_nothing(anyone: Client, forge: Forge, name: str) -> None:
    answer = await anyone.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {FORGERIES[name](forge)}"})
    assert answer.status_code == 401, name
    assert answer.headers["www-authenticate"].lower().startswith("bearer")
    assert "detail" in answer.json()
    assert "kid" not in answer.text


@pytest.mark.parametrize("member", ["jku", "x5u"])
async def test_no_key_is_fetched_from_where_a_token_says(
    anyone: Client, forge: Forge, serve: Callable[[], Awaitable[Server]], member: str
) -> None:
    server = await serve()
    token = forge.headed(**{member: f"{server.url}/keys"})
    answer = await anyone.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert server.seen == []


def test_there_are_more_than_twenty_seven() -> None:
    assert len(FORGERIES) >= 27


def made(database: Database, vault: Vault, **settings: Any) -> Tokens:
    return Tokens(database.pool, vault, AuthSettings.model_validate(settings))


SUBJECT = Subject(uuid7(), uuid7(), uuid7())


async def test_after_a_rotation_old_tokens_still_count_and_new_ones_have_the_new_key(
    fresh_database: Database, fresh_vault: Vault
) -> None:
    tokens = made(fresh_database, fresh_vault, believed_seconds=0, publish_seconds=0)
    before = await tokens.issue(SUBJECT)
    kid = await tokens.rotate()
    after = await tokens.issue(SUBJECT)
    assert decoded(after.split(".")[0])["kid"] == kid
    assert decoded(before.split(".")[0])["kid"] != kid
    for token in (before, after):
        assert (await tokens.verify(token)).subject() == SUBJECT
    assert {k["kid"] for k in (await tokens.published())["keys"]} == {
        decoded(t.split(".")[0])["kid"] for t in (before, after)
    }


async def test_a_next_key_is_published_before_it_signs(fresh_database: Database, fresh_vault: Vault) -> None:
    tokens = made(fresh_database, fresh_vault, believed_seconds=0, publish_seconds=3600)
    before = await tokens.issue(SUBJECT)
    kid = await tokens.rotate()
    assert kid in {k["kid"] for k in (await tokens.published())["keys"]}
    assert decoded((await tokens.issue(SUBJECT)).split(".")[0])["kid"] == decoded(before.split(".")[0])["kid"]


async def test_keys_that_are_not_trusted_any_more_verify_nothing_in_any_process(
    fresh_database: Database, fresh_vault: Vault
) -> None:
    here = made(fresh_database, fresh_vault, believed_seconds=0)
    there = made(fresh_database, fresh_vault, believed_seconds=0)
    token = await here.issue(SUBJECT)
    await there.verify(token)
    await here.rotate(distrust=True)
    for tokens in (here, there):
        with pytest.raises(BadToken):
            await tokens.verify(token)
    assert (await there.verify(await here.issue(SUBJECT))).subject() == SUBJECT


async def test_what_is_published_holds_no_private_part(anyone: Client, forge: Forge) -> None:
    answer = await anyone.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    keys = answer.json()["keys"]
    assert forge.header["kid"] in {key["kid"] for key in keys}
    for key in keys:
        assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
        ECKey.import_key(key)


async def test_rotations_are_noticed_by_nobody_while_two_processes_sign_and_verify(
    fresh_database: Database, fresh_vault: Vault
) -> None:
    """S29: every token is good in both processes from its first moment on, also the first of a new key."""
    options = {"believed_seconds": 0.25, "publish_seconds": 1}
    here, there = (made(fresh_database, fresh_vault, **options) for _ in range(2))
    rotating = True
    kids = {decoded((await here.issue(SUBJECT)).split(".")[0])["kid"]}

    async def use(one: Tokens, other: Tokens) -> int:
        verified = 0
        while rotating:
            token = await one.issue(SUBJECT)
            kids.add(decoded(token.split(".")[0])["kid"])
            for each in (other, one):
                assert (await each.verify(token)).subject() == SUBJECT
                verified += 1
        return verified

    async def rotate() -> None:
        nonlocal rotating
        for _ in range(4):
            newest = await here.rotate()
            async with asyncio.timeout(20):
                while newest not in kids:
                    kids.add(decoded((await there.issue(SUBJECT)).split(".")[0])["kid"])
        rotating = False

    async with asyncio.TaskGroup() as group:
        users = [group.create_task(use(one, other)) for one, other in ((here, there), (there, here)) * 2]
        group.create_task(rotate())
    assert len(kids) == 5
    assert min(user.result() for user in users) > 0


async def test_a_process_whose_clock_is_late_signs_with_a_key_that_it_has(
    fresh_database: Database, fresh_vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have made the key that it would take silent already."""
    tokens = made(fresh_database, fresh_vault, believed_seconds=0, publish_seconds=0)
    await tokens.issue(SUBJECT)
    for _ in range(2):
        await tokens.rotate()
    late = made(fresh_database, fresh_vault, believed_seconds=0, publish_seconds=0)
    monkeypatch.setattr(of_tokens, "now", lambda: now() - timedelta(seconds=30))
    assert (await late.verify(await late.issue(SUBJECT))).subject() == SUBJECT


async def test_who_keeps_the_published_keys_as_long_as_told_knows_each_before_it_signs(anyone: Client) -> None:
    kept = (await anyone.get("/.well-known/jwks.json")).headers["cache-control"]
    assert int(kept.rpartition("=")[2]) <= AuthSettings().publish_seconds


def test_a_key_that_would_sign_before_others_can_know_it_is_refused() -> None:
    """Every process looks for keys once a second; who had just looked would refuse good tokens."""
    with pytest.raises(ValueError, match="publish_seconds"):
        AuthSettings(publish_seconds=0.9)
    assert AuthSettings(publish_seconds=1).publish_seconds == 1
