"""What a route needs of its caller; a route that says nothing cannot be made."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Scope

from agent_factory.api.dependencies import authenticate
from agent_factory.api.problems import on_http, respond
from agent_factory.kit import ids
from agent_factory.kit.errors import Kind, NotFound, Problem
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.security.rate_limit import Limiter

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_POWER = frozenset({"user", "team", "org", "apikey"})
"""Nouns of the permissions whose changes say who may do what, and so outlast whatever is believed of a caller."""

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__needs__"


class OrganizationSuspended(Problem):
    """The caller's organisation is at rest."""

    kind = Kind.FORBIDDEN
    code = "organization_suspended"
    title = "The organisation is suspended"


class OrganizationDeleted(Problem):
    """The caller's organisation was deleted, and may yet be taken back."""

    kind = Kind.FORBIDDEN
    code = "organization_deleted"
    title = "The organisation is deleted"


class Need(msgspec.Struct, frozen=True):
    """What a route needs: a permission, or nothing at all, and why.

    `of` names the path parameter with the id of the resource that a grant may
    name. With `inside`, the request or what it is about names the resource: the
    door lets in whoever has the permission for something, and the service
    checks for what. With `other`, that permission does as well. `at_rest` is
    also served while the organisation is suspended or deleted. With `anew`,
    what the process believes of the caller is not enough, for what the route
    makes outlasts the belief, such as a password; so it is with every change of
    who may do what. Changes are audited, unless what they make is a record of its own. Only probes are not `limited`.
    """

    permission: str | None
    of: str | None = None
    inside: bool = False
    other: str | None = None
    at_rest: bool = False
    audited: bool = True
    anew: bool = False
    why_open: str = ""
    limited: bool = True

    @property
    def permissions(self) -> tuple[str, ...]:
        """The permissions of which any does."""
        return tuple(each for each in (self.permission, self.other) if each is not None)


def needs(
    permission: str,
    *,
    of: str | None = None,
    inside: bool = False,
    other: str | None = None,
    at_rest: bool = False,
    audited: bool = True,
    anew: bool = False,
) -> Callable[[F], F]:
    """Mark an endpoint with the permission that it needs."""
    return _marked(Need(permission, of, inside, other, at_rest, audited, anew))


def open_to_all(why: str, *, limited: bool = True) -> Callable[[F], F]:
    """Mark an endpoint that serves whoever asks, with the reason."""
    return _marked(Need(None, audited=False, why_open=why, limited=limited))


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
    """Let a request in, or raise what keeps it out: the one door before every endpoint (S43)."""
    actor = await _limited(request, need)
    if actor is None:
        return
    if actor.organization_status != "active" and not need.at_rest:
        raise at_rest(actor.organization_status)
    decide(actor, need, _resource(request, need) if actor.grants else None)


async def _limited(request: Request, need: Need) -> Actor | None:
    """Count a request against every limit that fits it, and give its caller, if the route needs to know one.

    An address that has used up its limit is turned away before its credentials
    are looked at; credentials that are no good count as well.
    """
    scope = request.scope
    state, route = scope["state"], scope["route"].path
    limiter: Limiter = scope["app"].state.limiter
    if need.permission is None:
        if need.limited:
            state["standing"] = limiter.standing(None, state["address"], route)
            await state["standing"].admit()
        return None
    state["standing"] = limiter.standing(None, state["address"])
    state["standing"].bar()
    try:
        actor = await authenticate(scope, anew=_anew(request.method, need))
    except Problem as problem:
        if problem.kind is Kind.UNAUTHENTICATED:
            await state["standing"].admit()
        raise
    state["standing"] = limiter.standing(actor, state["address"], route)
    await state["standing"].admit()
    return actor


def _anew(method: str, need: Need) -> bool:
    """Tell whether what this process believes of the caller is not enough for a request."""
    return need.anew or (method not in _READS and need.permission is not None and _of_power(need.permission))


@lru_cache(maxsize=256)
def _of_power(permission: str) -> bool:
    return permission.partition(":")[0] in _POWER


def bar_address(scope: Scope) -> None:
    """Turn away an address that is known to have used up its limit; asks nobody, and uses nothing."""
    state = scope["state"]
    limiter: Limiter = scope["app"].state.limiter
    state["standing"] = limiter.standing(None, state["address"])
    state["standing"].bar()


async def count_address(scope: Scope) -> None:
    """Count a request that comes to no route, and so to no limit but its address's; raises `RateLimited`."""
    bar_address(scope)
    await scope["state"]["standing"].admit()


async def on_unmatched(connection: HTTPConnection, error: Exception) -> Response:
    """Answer what the framework raises itself, which is mostly that there is no such route; that counts as well."""
    try:
        await count_address(connection.scope)
    except Problem as problem:
        return respond(problem, connection.scope)
    return await on_http(connection, error)


def decide(actor: Actor, need: Need, resource: UUID | None) -> None:
    """Raise `Denied` unless a caller may come in."""
    assert need.permission is not None, "whoever asks comes in where nothing is needed"
    if rbac.may(actor, need.permission, resource):
        return
    if need.other is not None and rbac.may(actor, need.other, resource):
        return
    if need.inside and any(rbac.reach(actor, each) for each in need.permissions):
        return
    rbac.check(actor, need.permission, resource)


def at_rest(status: str) -> Problem:
    """Give the error that tells that an organisation is suspended or deleted."""
    if status == "deleted":
        return OrganizationDeleted("One of its owners can restore it for some time.")
    return OrganizationSuspended("Nothing is done for it until one of its owners, or the operator, resumes it.")


def _resource(request: Request, need: Need) -> UUID | None:
    text = request.path_params.get(need.of) if need.of else None
    if text is None:
        return None
    try:
        return ids.decode(text.partition("_")[0], text)
    except NotFound:
        return None
