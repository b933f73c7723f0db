"""What a caller sends as a secret is not repeated to him, however wrongly he sends it (abuse 68)."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI

from agent_factory.kit.spellings import forms
from tests.serving import Client

CANARY = "canary-echo-5f6a7b8c"
SECRET = re.compile(
    r"^(value|secret|password|new_password|current_password|otp|code|token|refresh_token|recovery_code|key|device)$"
)
"""Names of fields that carry what nobody else may know."""

Place = tuple[str, str, str]


def places(document: dict[str, Any]) -> Iterator[Place]:
    """Every field of a body that carries a secret: method, path, name."""
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method in item.keys() & {"post", "put", "patch"}:
            body = item[method].get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            for name in _fields(body, schemas):
                if SECRET.match(name):
                    yield method.upper(), path, name


def _fields(schema: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    named = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    found = set(named.get("properties", {}))
    for part in (*named.get("anyOf", ()), *named.get("oneOf", ()), *named.get("allOf", ())):
        found |= _fields(part, schemas)
    return found


def wrong(name: str) -> list[Any]:
    """Bodies in which the field is wrong, and with it whatever else is missing."""
    return [
        {name: CANARY},
        {name: [CANARY]},
        {name: {CANARY: CANARY}},
        {name: CANARY * 2_000},
        {name: f"{CANARY}\n"},
        {name: CANARY, "unknown": CANARY},
        {name: CANARY[:3], "name": [CANARY], "hosts": [CANARY], "config": CANARY, "type": CANARY},
        [CANARY],
        CANARY,
    ]


async def test_no_answer_repeats_it(app: FastAPI, client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    """Not in a fault of validation, a conflict, or an error of the database; nor does the log."""
    fields = sorted(set(places(app.openapi())))
    assert len(fields) >= 12, fields
    answers = 0
    for method, path, name in fields:
        target = re.sub(r"\{\w+\}", "sec_00000000000000000000000000", path)
        for body in wrong(name):
            answer = await client.request(method, target, json=body)
            assert answer.status_code < 500, f"{method} {path}: {answer.text}"
            shown = f"{answer.text} {dict(answer.headers)}"
            assert not [form for form in forms(CANARY) if form in shown], f"{method} {path} {body!r:.80}: {shown}"
            answers += 1
    content = msgspec.json.encode({"value": CANARY})
    for cut in (content[:-1], content + b"}", b"\xff" + content, content.replace(b":", b"=")):
        for method, path, _ in fields:
            target = re.sub(r"\{\w+\}", "sec_00000000000000000000000000", path)
            answer = await client.request(method, target, content=cut, headers={"Content-Type": "application/json"})
            assert CANARY not in f"{answer.text} {dict(answer.headers)}"
    logged = capfd.readouterr()
    assert CANARY not in logged.out + logged.err
    assert answers == len(fields) * 9
