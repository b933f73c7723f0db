"""What a route needs of its caller; a route that says nothing cannot be made."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from starlette.requests import Request

from agent_factory.api.dependencies import authenticate
from agent_factory.kit import ids
from agent_factory.kit.errors import NotFound
from agent_factory.security import rbac

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__needs__"


class Need(msgspec.Struct, frozen=True):
    """What a route needs: a permission, or nothing at all, and why.

    `of` names the path parameter with the id of the resource that a grant may
    name. Changes are audited, unless what they make is a record of its own.
    """

    permission: str | None
    of: str | None = None
    audited: bool = True
    why_open: str = ""


def needs(permission: str, *, of: str | None = None, audited: bool = True) -> Callable[[F], F]:
    """Mark an endpoint with the permission that it needs."""
    return _marked(Need(permission, of, audited))


def open_to_all(why: str) -> Callable[[F], F]:
    """Mark an endpoint that serves whoever asks, with the reason."""
    return _marked(Need(None, audited=False, why_open=why))


def _marked(need: Need) -> Callable[[F], F]:
    def mark(endpoint: F) -> F:
        setattr(endpoint, _MARK, need)
        return endpoint

    return mark


def need_of(endpoint: Callable[..., Any]) -> Need:
    """Give what an endpoint is marked with; an unmarked one is a fault of ours, found when the route is made."""
    need = getattr(endpoint, _MARK, None)
    if not isinstance(need, Need):
        raise TypeError(f"{endpoint.__module__}.{endpoint.__name__} has neither @needs(…) nor @open_to_all(…).")
    return need


async def admit(request: Request, need: Need) -> None:
    """Let a request in, or raise `Unauthenticated` or `Denied`: the one door before every endpoint (S43)."""
    if need.permission is None:
        return
    actor = await authenticate(request.scope)
    rbac.check(actor, need.permission, _resource(request, need) if actor.grants else None)


def _resource(request: Request, need: Need) -> UUID | None:
    text = request.path_params.get(need.of) if need.of else None
    if text is None:
        return None
    try:
        return ids.decode(text.partition("_")[0], text)
    except NotFound:
        return None
