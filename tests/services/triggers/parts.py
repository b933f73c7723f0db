"""What tests of triggers are made of: workflows, triggers, and signed requests."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from agent_factory.kit.ids import uuid7
from tests.services.workflows.parts import pure
from tests.serving import Client

ECHO: dict[str, Any] = {"name": "echo", "tasks": [pure("echo", "{{ input }}")]}

TRIGGERS = "/api/v1/triggers"

T = TypeVar("T")


async def eventually(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is something, and give it."""
    while not (found := await ask()):  # noqa: ASYNC110 - nobody calls back
        await asyncio.sleep(0.02)
    return found


def a_path() -> str:
    """Make a path that no other test has."""
    return f"hooks/{uuid7().hex}"


async def trigger(client: Client, workflow: str, kind: str = "webhook", **more: Any) -> dict[str, Any]:
    """Make a trigger."""
    answer = await client.post(TRIGGERS, json={"workflow": workflow, "type": kind, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def runs_of(client: Client, trigger_kind: str) -> list[dict[str, Any]]:
    """List an organisation's runs that a kind of trigger has started, newest first."""
    found = (await client.get("/api/v1/runs", params={"limit": 100})).json()["data"]
    return [run for run in found if run["trigger"] == trigger_kind]


def standard(secret: str, body: bytes, *, message: str = "msg_1", at: float | None = None) -> dict[str, str]:
    """Sign a request as Standard Webhooks has it."""
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = hmac.new(key, f"{message}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(made).decode()}",
    }


def github(secret: str, body: bytes, delivery: str = "d-1") -> dict[str, str]:
    """Sign a request as GitHub does."""
    made = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={made}", "X-GitHub-Delivery": delivery, "X-GitHub-Event": "push"}
