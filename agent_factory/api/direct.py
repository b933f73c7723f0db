"""A short way for the endpoints that answer most requests: what they declare is read as ever, with little in between.

The framework's own way through dependencies, exit stacks and handlers of
errors costs as much as the rest of such a request.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_factory.api.problems import from_validation

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__direct__"
_GIVEN = frozenset({"actor", "platform"})
"""Dependencies by the names under which endpoints ask for them."""


def direct(endpoint: F) -> F:
    """Mark an endpoint that is called directly.

    It may ask for the request, `actor` and `platform`, parameters of the path,
    parameters of the query that have defaults, and one body; it returns its
    response whole. A route that asks for more cannot be made.
    """
    setattr(endpoint, _MARK, True)
    return endpoint


def is_direct(endpoint: Callable[..., Any]) -> bool:
    """Tell whether an endpoint is called directly."""
    return getattr(endpoint, _MARK, False)


def handler(route: APIRoute) -> Handler:
    """Give what reads a request's parameters and body, and calls a direct endpoint."""
    wants = route.dependant
    _check(route.path, wants)
    endpoint = route.endpoint
    names = {str(dependency.name) for dependency in wants.dependencies}
    with_actor, with_platform = "actor" in names, "platform" in names

    async def call(request: Request) -> Response:
        values = await _read(request, wants)
        if wants.request_param_name:
            values[wants.request_param_name] = request
        if with_actor:
            values["actor"] = request.scope["state"]["actor"]
        if with_platform:
            values["platform"] = request.scope["app"].state.platform
        return await endpoint(**values)

    return call


def _check(path: str, wants: Dependant) -> None:
    more = [str(d.name) for d in wants.dependencies if d.name not in _GIVEN]
    more += [field.name for field in (*wants.header_params, *wants.cookie_params, *wants.body_params[1:])]
    more += [field.name for field in wants.query_params if field.field_info.is_required()]
    more += [name for name in (wants.response_param_name, wants.background_tasks_param_name) if name]
    if more:
        raise TypeError(f"The endpoint of {path} is called directly, and cannot ask for {', '.join(more)}.")


async def _read(request: Request, wants: Dependant) -> dict[str, Any]:
    """Read parameters and body as the framework does; raises `RequestValidationError`."""
    values, faults = request_params_to_args(wants.path_params, request.path_params)
    if request.scope["query_string"]:
        read, wrong = request_params_to_args(wants.query_params, request.query_params)
        values |= read
        faults += wrong
    for field in wants.body_params:
        raw = await request.body()
        if raw:
            values[field.name], wrong = field.validate(orjson.loads(raw), {}, loc=("body",))
            faults += wrong
        else:
            faults.append({"type": "missing", "loc": ("body",), "msg": "Field required", "input": None})
    if faults:
        raise RequestValidationError(faults)
    return values


class Direct:
    """Serves direct routes itself, and leaves all other requests to the application below."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        """Pick the direct ones out of an application's routes."""
        self._app = app
        self._routes = [(r, r.get_route_handler()) for r in routes if isinstance(r, APIRoute) and is_direct(r.endpoint)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for route, serve in self._routes:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    try:
                        response = await serve(Request(scope, receive, send))
                    except RequestValidationError as error:
                        raise from_validation(error.errors()) from None
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)
