"""Whatever is sent to any operation that takes a body ends in its documented error, and the process goes on."""

import re
from typing import Any

import pytest

from agent_factory.settings import Settings
from tests.serving import Client, make_app

WRITES = [
    pytest.param(method.upper(), path, id=f"{method.upper()} {path}")
    for path, item in make_app(Settings()).openapi()["paths"].items()
    for method, operation in item.items()
    if "requestBody" in operation
]
IDS = {"agent_id": "agt", "session_id": "ses", "run_id": "run", "key_id": "key", "organization_id": "org"}

UNREADABLE: dict[str, tuple[bytes, int]] = {
    "malformed": (b'{"name": ', 400),
    "not a number": (b'{"name": NaN}', 400),
    "infinite": (b'{"limits": {"seconds": Infinity}}', 400),
    "beyond a double": (b'{"limits": {"seconds": 1e999}}', 400),
    "beyond 64 bits": (b'{"limits": {"steps": 123456789012345678901234567890}}', 400),
    "deeply nested": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
    "invalid text": (b'{"name": "\xc3\x28"}', 400),
    "a nul character": (b'{"name": "a\\u0000b"}', 400),
    "ten megabytes": (b'{"name": "' + b"x" * 10_000_000 + b'"}', 413),
}

ILL_TYPED: dict[str, Any] = {
    "a list": [],
    "text": "x",
    "a number": 1,
    "a truth value": True,
    "unknown fields": {"org_id": "x", "__proto__": {}, "constructor": 1},
    "everything as a list": {n: [[]] for n in ("name", "content", "agent", "input", "model", "messages", "version")},
    "everything as a number": dict.fromkeys(("name", "content", "agent", "input", "model", "messages", "version"), 3.5),
    "everything as an object": {n: {"a": 1} for n in ("name", "content", "agent", "input", "model", "messages")},
}


async def _path(client: Client, path: str) -> str:
    """Fill a path with an object that is there where one is easily made, for the body to be what is at fault."""
    filled = path.replace("{tool_id}", "calculator").replace("{number}", "1")
    if "{agent_id}" in filled:
        filled = filled.replace("{agent_id}", (await client.create_agent())["id"])
    if "{session_id}" in filled:
        await client.create_agent()
        session = await client.post("/api/v1/sessions", json={"agent": "support"})
        filled = filled.replace("{session_id}", session.json()["id"])
    if "{organization_id}" in filled:
        filled = filled.replace("{organization_id}", (await client.get("/api/v1/auth/me")).json()["organization_id"])
    return re.sub(r"\{(\w+)\}", lambda m: f"{IDS.get(m[1], 'x')}_00000000000000000000000000", filled)


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_body_that_cannot_be_read_is_refused_before_anything_else(
    client: Client, method: str, path: str
) -> None:
    where = await _path(client, path)
    for name, (body, status) in UNREADABLE.items():
        answer = await client.request(method, where, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status, (name, answer.text)
    assert (await client.get("/ready")).status_code == 200


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_body_of_wrong_types_is_refused_with_what_is_wrong(client: Client, method: str, path: str) -> None:
    where = await _path(client, path)
    for name, body in ILL_TYPED.items():
        answer = await client.request(method, where, json=body)
        assert answer.status_code in (400, 404, 422), (name, answer.status_code, answer.text[:500])
        told = answer.json()
        assert told.get("code") or told["error"]["code"], name
        if answer.status_code == 422 and "errors" in told:
            assert all(set(e) == {"pointer", "detail"} for e in told["errors"]), name
    assert (await client.get("/ready")).status_code == 200


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_body_of_another_format_is_415(client: Client, method: str, path: str) -> None:
    where = await _path(client, path)
    for media in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/yaml"):
        answer = await client.request(method, where, content=b"name=x", headers={"content-type": media})
        assert answer.status_code == 415, answer.text
