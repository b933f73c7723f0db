"""Requests that reach a webhook: checked, and made runs (S90, S100)."""

from typing import Any
from uuid import UUID

import msgspec

from agent_factory.api.idempotency import KeyReused
from agent_factory.database import idempotency as store
from agent_factory.kit.clock import now
from agent_factory.kit.errors import NotFound
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import system
from agent_factory.security.encryption import Vault
from agent_factory.services.runs import service as runs
from agent_factory.services.runs.errors import ValueGone, ValueTooLarge
from agent_factory.services.triggers import queries
from agent_factory.services.triggers.errors import SignatureInvalid, WebhookMethod, WebhookNotFound, WebhookTooLarge
from agent_factory.services.triggers.queries import Found
from agent_factory.services.triggers.rules.configs import WebhookConfig
from agent_factory.services.triggers.rules.naming import place_of
from agent_factory.services.triggers.rules.requests import Call, content_of, document, key_of, read_body
from agent_factory.services.triggers.rules.signatures import verify
from agent_factory.services.workflows import service as workflows

_ACCEPTED = 202
_LONGEST_WAIT = 60.0
_NOBODY = UUID(int=0)


class Received(msgspec.Struct, frozen=True):
    """What came of a request: its run, as far as the sender may know."""

    run_id: UUID
    status: str = "pending"
    ended: bool = False
    output: Any = None
    error: dict[str, Any] | None = None


async def receive(platform: Platform, call: Call, wait: float | None = None) -> Received:
    """Start the run that a request asks for; it is committed when this returns.

    A request that is made again with its `webhook-id` or `Idempotency-Key`
    within 24 hours has the run of the first. Raises `WebhookNotFound`,
    `WebhookMethod`, `WebhookTooLarge`, `SignatureInvalid`, `WebhookMalformed`,
    `WebhookUnreadable`, `KeyReused`, and what `workflows.service.start` raises.
    """
    found = await queries.webhook(platform.database.pool, call.path)
    if found is None:
        raise WebhookNotFound("No webhook listens here; it may be disabled, or its path has changed.")
    config = WebhookConfig.model_validate(found.config)
    await _check(platform.vault, found, config, call)
    given = document(call, config, read_body(call))
    run_id, again = await _run_id(platform, found, config, call)
    if not (again and await _is_there(platform, found, run_id)):
        await workflows.start(
            platform,
            found.organization_id,
            found.workflow_id,
            document=given,
            user_id=found.created_by,
            key_id=found.key_id,
            trigger="webhook",
            source="webhook",
            run_id=run_id,
        )
    result = config.respond == "result"
    seconds = min(_LONGEST_WAIT, config.wait if result and wait is None else wait or 0.0)
    if not result and not seconds:
        return Received(run_id)
    return await _state(platform, found, run_id, seconds, result=result)


async def _check(vault: Vault, found: Found, config: WebhookConfig, call: Call) -> None:
    if config.method not in ("ANY", call.method):
        raise WebhookMethod(f"This webhook takes {config.method}.")
    if len(call.body) > config.max_body:
        raise WebhookTooLarge(f"This webhook takes bodies of at most {config.max_body} bytes.")
    if config.signature is not None:
        secret = await _secret(vault, found)
        if secret is None:
            raise SignatureInvalid("The webhook has no secret yet; its owner has to make one.")
        verify(config.signature, secret, call.headers, call.body, now=now(), tolerance=config.tolerance)


async def _secret(vault: Vault, found: Found) -> bytes | None:
    if found.sealed_secret is None:
        return found.secret
    return await vault.decrypt(found.organization_id, place_of(found.id), found.sealed_secret)


async def _run_id(platform: Platform, found: Found, config: WebhookConfig, call: Call) -> tuple[UUID, bool]:
    """Choose the run's id: the one of the first request with the same key. It is kept before anything is started."""
    run_id = uuid7()
    key = key_of(call, config)
    if key is None:
        return run_id, False
    name = store.RequestKey(found.organization_id, key, f"webhook {found.id}")
    content = content_of(call)
    async with platform.database.write(found.organization_id) as session:
        if await store.claim(session, name, content):
            await store.settle(session, name, _ACCEPTED, run_id.bytes, {})
            return run_id, False
        kept = await store.find(session, name)
    if kept is None or kept.body_hash != content:
        raise KeyReused("Use a new key for a request with other content.")
    return UUID(bytes=kept.response), True


async def _is_there(platform: Platform, found: Found, run_id: UUID) -> bool:
    try:
        await platform.queue.run(found.organization_id, run_id)
    except NotFound:
        return False
    return True


async def _state(platform: Platform, found: Found, run_id: UUID, seconds: float, *, result: bool) -> Received:
    run = await platform.queue.settled(found.organization_id, run_id, seconds)
    if not result:
        return Received(run_id, run.status, run.ended)
    if run.status != "completed":
        return Received(run_id, run.status, run.ended, error=run.problem())
    try:
        output = await runs.read_output(platform, system(found.organization_id, found.created_by or _NOBODY), run_id)
    except (ValueGone, ValueTooLarge) as problem:
        # The run has done its work, so nobody should be led to send the request again.
        return Received(run_id, run.status, run.ended, error=problem.as_dict())
    return Received(run_id, run.status, run.ended, output)
