"""What requests leave in the audit trail: an event for each change, and one for each write that is refused (S196)."""

import re

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from agent_factory.database.session import Session
from agent_factory.kit.errors import Invalid, Kind, Problem
from agent_factory.runtime.platform import Platform
from agent_factory.security.audit import Event, record, record_alone
from agent_factory.security.auth import Actor

CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods that change something, or try to."""

_REFUSED = frozenset(
    {
        Kind.MALFORMED,
        Kind.BUDGET,
        Kind.FORBIDDEN,
        Kind.NOT_FOUND,
        Kind.CONFLICT,
        Kind.PRECONDITION_FAILED,
        Kind.UNSUPPORTED_MEDIA,
        Kind.INVALID,
    }
)
_FAILED = 400
_ID = re.compile(r"[a-z]{2,5}_[0-9a-hjkmnp-tv-z]{26}")


async def note_change(request: Request, action: str, response: Response) -> None:
    """Append the event of a change to its transaction; where it had none of ours, right after it.

    A repeated request, whose answer is the first one's, has changed nothing.
    """
    state = request.scope["state"]
    actor: Actor | None = state.get("actor")
    if actor is None or response.status_code >= _FAILED or "idempotent-replayed" in response.headers:
        return
    event = Event(action=action, actor=actor, resource=_made(response) or _named(request))
    session: Session | None = state.get("transaction")
    if session is not None:
        await record(session, event)
    else:
        platform: Platform = request.app.state.platform
        await record_alone(platform.database.pool, event)


async def note_refusal(request: Request, action: str, error: Problem | RequestValidationError) -> None:
    """Record that a known caller was refused, as often as the bounds allow."""
    actor: Actor | None = request.scope["state"].get("actor")
    kind, code = (error.kind, error.code) if isinstance(error, Problem) else (Invalid.kind, Invalid.code)
    if actor is None or kind not in _REFUSED:
        return
    platform: Platform = request.app.state.platform
    await platform.trail.refused(Event(action=action, actor=actor, resource=_named(request), details={"code": code}))


def _made(response: Response) -> str | None:
    """Name what the answer says was made."""
    found = _ID.findall(response.headers.get("location", ""))
    return found[-1] if found else None


def _named(request: Request) -> str | None:
    """Name what the path is about: its last id, or else its last part that varies."""
    values = [str(value) for value in request.path_params.values()]
    found = [value for value in values if _ID.fullmatch(value)]
    return (found or values or [None])[-1]
