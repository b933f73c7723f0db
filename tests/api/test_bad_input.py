"""Whatever is sent to any operation that takes a body ends in its documented error, and the process goes on."""

import re
from typing import Any

import pytest

from agent_factory.settings import Settings
from tests.serving import Client, make_app

YAML = "application/yaml"
BODIES: dict[tuple[str, str], set[str]] = {
    (method.upper(), path): set(operation["requestBody"]["content"])
    for path, item in make_app(Settings()).openapi()["paths"].items()
    for method, operation in item.items()
    if "requestBody" in operation
}
"""The formats that each operation says it reads."""
WRITES = [pytest.param(*operation, id=" ".join(operation)) for operation in BODIES]
READ_YAML = [pytest.param(*operation, id=" ".join(operation)) for operation, media in BODIES.items() if YAML in media]
YAML_BODIES: dict[str, bytes] = {
    "a lone surrogate": b'{"name": "\\ud800", "tasks": []}',
    "an escaped lone surrogate": b'name: "\\ud800"',
    "a nul character": b'name: "a\\0b"\ntasks: [{id: a, type: transform}]',
    "beyond 64 bits": b"name: 18446744073709551615",
    "not a number": b"name: .nan",
    "a tag": b"name: !!python/object/apply:os.system [id]",
    "a bomb": b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (c, c, c - 1, c - 1) for c in range(98, 122)),
    "deeply nested": b"[" * 100_000,
    "nested by indentation": b"- " * 5000,
    "no text": b"\xff\xfe",
    "two documents": b"name: a\n---\nname: b",
}

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
async def test_a_body_of_a_format_that_the_document_does_not_name_is_415(
    client: Client, method: str, path: str
) -> None:
    where = await _path(client, path)
    for media in {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data", YAML} - BODIES[
        method, path
    ]:
        answer = await client.request(method, where, content=b"name=x", headers={"content-type": media})
        assert answer.status_code == 415, answer.text


@pytest.mark.parametrize(("method", "path"), READ_YAML)
async def test_what_yaml_says_is_held_to_the_same_as_json(client: Client, method: str, path: str) -> None:
    where = await _path(client, path)
    for name, body in YAML_BODIES.items():
        answer = await client.request(method, where, content=body, headers={"content-type": YAML})
        assert answer.status_code in (400, 404, 422), (name, answer.status_code, answer.text[:500])
    assert (await client.get("/ready")).status_code == 200


def test_some_operations_read_yaml() -> None:
    assert READ_YAML
