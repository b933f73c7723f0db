"""Another issuer of access tokens: its keys, the tokens that it signs, and the process that publishes the keys."""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, OKPKey, RSAKey

ROOT = Path(__file__).resolve().parents[2]
AUDIENCE = "https://agents.example.com"
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Json = dict[str, Any]
_HASHES: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signature(private: Private, algorithm: str, said: bytes) -> bytes:
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign(said)
    digest = _HASHES[algorithm[2:]]()
    if isinstance(private, ec.EllipticCurvePrivateKey):
        size = (private.curve.key_size + 7) // 8
        r, s = decode_dss_signature(private.sign(said, ec.ECDSA(digest)))
        return r.to_bytes(size) + s.to_bytes(size)
    if algorithm.startswith("PS"):
        return private.sign(said, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return private.sign(said, padding.PKCS1v15(), digest)


def public_jwk(private: Private, kid: str, **more: Any) -> Json:
    key: RSAKey | ECKey | OKPKey
    if isinstance(private, rsa.RSAPrivateKey):
        key = RSAKey.import_key(private)
    elif isinstance(private, ec.EllipticCurvePrivateKey):
        key = ECKey.import_key(private)
    else:
        key = OKPKey.import_key(private)
    return {**key.as_dict(private=False), "kid": kid, **more}


class Provider:
    """An issuer; `issuer` is its name and its address."""

    def __init__(self, url: str) -> None:
        self.issuer = url
        self.private = rsa.generate_private_key(65537, 2048)
        self.kid = "key-1"
        self._http = httpx2.AsyncClient(base_url=url)

    async def publish(self, *keys: Json) -> None:
        """Publish some keys, or its own."""
        body = {"keys": list(keys) or [public_jwk(self.private, self.kid, alg="RS256", use="sig")]}
        await self.answer("/jwks", json.dumps(body).encode())

    async def answer(self, path: str, body: bytes, *, status: int = 200, **headers: str) -> None:
        """Answer something at a path from now on."""
        told = {"X-Status": str(status), **{f"X-{name}": value for name, value in headers.items()}}
        assert (await self._http.put(path, content=body, headers=told)).status_code == 204

    async def asked(self, path: str = "/jwks") -> int:
        """How often a path was asked for."""
        return (await self._http.get("/asked")).json().count(path)

    def claims(self, address: str, /, **more: Any) -> Json:
        """What a token says; None leaves a claim out."""
        moment = int(time.time())
        usual = {"iss": self.issuer, "aud": AUDIENCE, "sub": "f:1:ada", "iat": moment, "exp": moment + 300}
        usual |= {"azp": "web", "client_id": "web", "email": address, "email_verified": True}
        return {name: value for name, value in {**usual, **more}.items() if value is not None}

    def header(self, **more: Any) -> Json:
        usual = {"alg": "RS256", "typ": "JWT", "kid": self.kid}
        return {name: value for name, value in {**usual, **more}.items() if value is not None}

    def signed(self, header: Any, claims: Any, private: Private | None = None) -> str:
        """Sign whatever it is, by the algorithm of the header where that is one."""
        parts = (part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims))
        said = ".".join(encoded(part) for part in parts)
        algorithm = header.get("alg") if isinstance(header, dict) else "RS256"
        known = isinstance(algorithm, str) and (algorithm == "EdDSA" or algorithm[2:] in _HASHES)
        mark = signature(private or self.private, str(algorithm) if known else "RS256", said.encode())
        return f"{said}.{encoded(mark)}"

    def token(self, address: str, /, **more: Any) -> str:
        """A good token for the owner of an address, or one with other claims."""
        return self.signed(self.header(), self.claims(address, **more))

    async def close(self) -> None:
        await self._http.aclose()


@asynccontextmanager
async def running_provider() -> AsyncGenerator[Provider, None]:
    """Run an issuer for the time of the block, with its own keys published."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.doubles.issuer",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))["port"]
        provider = Provider(f"http://127.0.0.1:{port}")
        await provider.publish()
        yield provider
        await provider.close()
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 20)
