"""What is worth keeping for ever: who did what to what, from where, and what came of it (S196)."""

from collections.abc import Mapping
from contextvars import ContextVar
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.database import audit as store
from agent_factory.database.session import Session
from agent_factory.kit.ids import uuid7
from agent_factory.monitoring.logging import redact
from agent_factory.security.auth import Actor

_LONGEST = {"action": 100, "resource": 200, "request_id": 128, "address": 64, "user_agent": 300, "role": 50}
_MOST_DETAILS = 8_192
"""Bytes of an event's details as JSON; more are not kept."""


class Outcome(StrEnum):
    """What came of it; `OBSERVED` is what nobody did, such as an alert."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    OBSERVED = "observed"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. `action` is an operation's id, or a name such as `auth.login_failed`.

    `resource` is a prefixed id. `details` are strings, whole numbers, booleans,
    lists and objects of them; what looks like a secret in them is masked, and
    nothing that names a person belongs there: ids do. Without an `actor`,
    `organization_id` and `user_id` say whom it concerns, as far as that is known.
    """

    action: str
    actor: Actor | None = None
    organization_id: UUID | None = None
    user_id: UUID | None = None
    resource: str | None = None
    outcome: Outcome = Outcome.SUCCEEDED
    details: Mapping[str, Any] = {}


class Origin(msgspec.Struct, frozen=True):
    """Where a request comes from."""

    request_id: str | None = None
    address: str | None = None
    user_agent: str | None = None


_NOWHERE = Origin()
_SCOPE: ContextVar[Mapping[str, Any] | None] = ContextVar("audit_scope", default=None)


class during:  # noqa: N801 - reads as what it does: `with during(scope):`
    """Let every event that is recorded inside say that this request (an ASGI scope) brought it about."""

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        self._token = _SCOPE.set(self._scope)

    def __exit__(self, *_error: object) -> None:
        _SCOPE.reset(self._token)


async def record(session: Session, event: Event) -> None:
    """Append an event to the caller's transaction: neither the change nor its event exists without the other.

    A session of an organisation records its own events only; what concerns
    none, or is found out before there is one, takes a session of the system.
    """
    await store.append(session, _record(event))


async def record_alone(writes: store.Writes, event: Event) -> None:
    """Append an event in a transaction of its own, for what is not changed in one of ours. Raises `Unavailable`."""
    await store.append_alone(writes, _record(event))


async def record_once(writes: store.Writes, event: Event) -> None:
    """Append an event in a transaction of its own, unless its organisation has it about the same resource already."""
    await store.append_once(writes, _record(event))


def origin() -> Origin:
    """Tell where the present request comes from; nowhere outside of one."""
    scope = _SCOPE.get()
    if scope is None:
        return _NOWHERE
    state: Mapping[str, Any] = scope.get("state") or {}
    client: tuple[str, int] | None = scope.get("client")
    address: str | None = state.get("address") or (client[0] if client else None)
    agent = next((value for name, value in scope.get("headers", ()) if name == b"user-agent"), b"")
    return Origin(state.get("request_id"), address, agent.decode("latin-1") or None)


def _record(event: Event) -> store.Record:
    actor, source = event.actor, origin()
    return store.Record(
        id=uuid7(),
        organization_id=actor.organization_id if actor else event.organization_id,
        user_id=actor.user_id if actor else event.user_id,
        key_id=actor.key_id if actor else None,
        session_id=actor.session_id if actor else None,
        role=_cut("role", actor.role) if actor else None,
        action=event.action[: _LONGEST["action"]],
        resource=_cut("resource", event.resource),
        outcome=event.outcome,
        request_id=_cut("request_id", source.request_id),
        address=_cut("address", source.address),
        user_agent=_cut("user_agent", source.user_agent),
        details=_vouched(actor, _details(event.details)),
    )


def _cut(field: str, value: str | None) -> str | None:
    return value.replace("\0", "")[: _LONGEST[field]] if value else None


def _vouched(actor: Actor | None, details: dict[str, Any]) -> dict[str, Any]:
    """Say who vouched for a caller who came with another issuer's token."""
    return details if actor is None or actor.issuer is None else {**details, "issuer": actor.issuer}


def _details(details: Mapping[str, Any]) -> dict[str, Any]:
    if not details:
        return {}
    clean = redact(details)
    return clean if len(msgspec.json.encode(clean)) <= _MOST_DETAILS else {"left_out": "the details were too long"}
