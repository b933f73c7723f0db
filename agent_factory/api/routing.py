"""Routers as every room makes them: readable operation ids, documented errors, idempotent POSTs."""

from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from agent_factory.api import direct
from agent_factory.api.access import admit, need_of
from agent_factory.api.auditing import CHANGES, note_change, note_refusal
from agent_factory.api.dependencies import authenticate, writer
from agent_factory.api.idempotency import Claim, Replayed
from agent_factory.api.problems import UnsupportedMedia
from agent_factory.api.yaml import READ_TOO, as_json, is_yaml
from agent_factory.kit.errors import Problem
from agent_factory.security import audit

_PROBLEM = {
    "description": "What went wrong, as RFC 9457.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
}
_OPENAI_ERROR = {
    "description": "What went wrong, as OpenAI's clients read it.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}},
}


_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

SHOWN_ONCE = "x-shown-once"
"""Marks an operation, in its `openapi_extra`, whose answer holds a secret and is kept nowhere."""


class Guarded(APIRoute):
    """A route that lets in whom its endpoint's mark lets in, and says so in the document."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the one decision before everything that the route does."""
        need = need_of(self.endpoint)
        handler = self.handler()
        if need.permission is not None:
            self.openapi_extra = {**(self.openapi_extra or {}), "x-permission": " or ".join(need.permissions)}

        changes = bool((self.methods or set()) & CHANGES)

        async def served(request: Request) -> Response:
            await admit(request, need)
            response = await handler(request)
            if changes and need.audited:
                await note_change(request, self.unique_id, response)
            return response

        async def guarded(request: Request) -> Response:
            with audit.during(request.scope):
                try:
                    return await served(request)
                except (Problem, RequestValidationError) as error:
                    if changes:
                        await note_refusal(request, self.unique_id, error)
                    raise

        return guarded

    def handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give what serves a request that was let in."""
        return direct.handler(self) if direct.is_direct(self.endpoint) else super().get_route_handler()


class Route(Guarded):
    """A route whose POST honours Idempotency-Key."""

    @cached_property
    def _stem(self) -> str:
        return self.path.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as ever, after a look that costs a tenth and tells most other routes apart."""
        if not scope["path"].startswith(self._stem) and not scope.get("root_path"):
            return Match.NONE, {}
        return super().matches(scope)

    def handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler, where a request can carry a key or be YAML."""
        handler = self._idempotent(super().handler())
        if not (self.methods or set()) & _WITH_BODY:
            return handler
        reads_yaml = READ_TOO.keys() <= (self.openapi_extra or {}).keys()

        async def readable(request: Request) -> Response:
            if not is_yaml(request):
                return await handler(request)
            if not reads_yaml:
                raise UnsupportedMedia("The body has to be JSON, sent as Content-Type: application/json.")
            return await handler(await as_json(request))

        return readable

    def _idempotent(
        self, handler: Callable[[Request], Coroutine[Any, Any, Response]]
    ) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        if "POST" not in (self.methods or ()) or need_of(self.endpoint).permission is None:
            return handler  # keys are kept by organisation, and whoever asks here has none
        transactional = _uses(self.dependant, writer)
        shown_once = SHOWN_ONCE in (self.openapi_extra or {})

        async def idempotent(request: Request) -> Response:
            claim = await Claim.of(request, shown_once=shown_once)
            if claim is None:
                return await handler(request)
            try:
                if not transactional:
                    actor = await authenticate(request.scope)
                    return await claim.around(handler, request, request.app.state.platform.database, actor)
                request.scope["state"]["claim"] = claim
                response = await handler(request)
                await claim.keep(response)
            except Replayed as known:
                return known.response
            return response

        return idempotent


def _uses(dependant: Dependant, call: Callable[..., Any]) -> bool:
    return any(d.call is call or _uses(d, call) for d in dependant.dependencies)


def _operation_id(route: APIRoute) -> str:
    return f"{route.tags[0]}_{route.name.strip('_')}".replace("-", "_")


def router(prefix: str, tag: str, *, problems: bool = True) -> APIRouter:
    """Make a room's router. `prefix` is the whole path; an operation's id is `tag_function`.

    With `problems` false, errors are documented in OpenAI's shape.
    """
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=Route,
        responses={"default": _PROBLEM if problems else _OPENAI_ERROR},
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
    )
