"""Errors on the wire: RFC 9457 problems, and OpenAI's shape under /v1."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from agent_factory.core.schema import pointer
from agent_factory.kit.errors import FieldError, Invalid, Kind, NotFound, Problem
from agent_factory.kit.redaction import Redactor
from agent_factory.security.auth import Actor

_log = structlog.stdlib.get_logger("agent_factory.http")

STATUS: dict[Kind, int] = {
    Kind.MALFORMED: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.BUDGET: 402,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.METHOD_NOT_ALLOWED: 405,
    Kind.SLOW: 408,
    Kind.CONFLICT: 409,
    Kind.CANCELLED: 409,
    Kind.PRECONDITION_FAILED: 412,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED_MEDIA: 415,
    Kind.INVALID: 422,
    Kind.LIMITED: 429,
    Kind.INTERNAL: 500,
    Kind.UPSTREAM: 502,
    Kind.UNAVAILABLE: 503,
    Kind.TIMEOUT: 504,
}
"""The one place where a kind becomes an HTTP status."""

_BASE = "https://agentfactory.dev/problems/"
_MOST_ERRORS = 50


class Malformed(Problem):
    """A request that cannot be read at all."""

    kind = Kind.MALFORMED
    code = "malformed_request"
    title = "Malformed request"


class MethodNotAllowed(Problem):
    """A method that the resource does not have."""

    kind = Kind.METHOD_NOT_ALLOWED
    code = "method_not_allowed"
    title = "Method not allowed"


class TooLarge(Problem):
    """A body over the limit."""

    kind = Kind.TOO_LARGE
    code = "body_too_large"
    title = "The body is too large"


class UnsupportedMedia(Problem):
    """A body in a format that the route does not read."""

    kind = Kind.UNSUPPORTED_MEDIA
    code = "unsupported_media_type"
    title = "Unsupported media type"


class RequestTimeout(Problem):
    """A request that took longer than the server's deadline."""

    kind = Kind.TIMEOUT
    code = "request_timeout"
    title = "The request took too long"


class Unauthenticated(Problem):
    """No credentials, or none that are valid."""

    kind = Kind.UNAUTHENTICATED
    code = "unauthenticated"
    title = "Authentication is needed"


class InternalError(Problem):
    """A fault of ours; the request id finds it in the log."""

    kind = Kind.INTERNAL
    code = "internal_error"
    title = "Internal error"


def status_of(problem: Problem) -> int:
    """Give the HTTP status of a problem."""
    return STATUS[problem.kind]


def respond(problem: Problem, scope: Scope, headers: Mapping[str, str] | None = None) -> Response:
    """Write a problem as the answer to the request in `scope`, in the shape that its path promises."""
    status = status_of(problem)
    out = dict(headers or {})
    if status == STATUS[Kind.UNAUTHENTICATED]:
        out.setdefault("WWW-Authenticate", 'Bearer realm="agent-factory"')
    if problem.retry_after is not None:
        out["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    path: str = scope["path"]
    if path == "/v1" or path.startswith("/v1/"):
        return Response(_written(openai_shape(problem), scope), status, out, "application/json")
    body = document(problem, instance=path, request_id=scope.get("state", {}).get("request_id"))
    return Response(_written(body, scope), status, out, "application/problem+json")


def _written(body: dict[str, Any], scope: Scope) -> bytes:
    """Write an error without what is known to be secret to whom it is told."""
    redactor: Redactor | None = getattr(scope["app"].state, "redactor", None) if "app" in scope else None
    if redactor is not None:
        actor: Actor | None = scope.get("state", {}).get("actor")
        body = redactor.document(body, str(actor.organization_id) if actor else "")
    return msgspec.json.encode(body)


def document(problem: Problem, *, instance: str | None = None, request_id: str | None = None) -> dict[str, Any]:
    """Give a problem's RFC 9457 members."""
    body: dict[str, Any] = {
        "type": _BASE + problem.code,
        "title": problem.title,
        "status": status_of(problem),
        "detail": problem.detail,
        "code": problem.code,
    }
    if instance is not None:
        body["instance"] = instance
    if request_id is not None:
        body["request_id"] = request_id
    if problem.errors:
        body["errors"] = [{"pointer": e.pointer, "detail": e.detail} for e in problem.errors]
    return body


_OPENAI_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
_SERVER_FAULTS = 500


def openai_shape(problem: Problem) -> dict[str, Any]:
    """Give a problem as OpenAI's clients read it; `param` is the first fault's field."""
    status = status_of(problem)
    kind = _OPENAI_TYPES.get(status, "api_error" if status >= _SERVER_FAULTS else "invalid_request_error")
    message = problem.detail
    if problem.errors:
        message += " " + "; ".join(f"{e.pointer or '/'}: {e.detail}" for e in problem.errors[:5])
    param = problem.errors[0].pointer.strip("/").replace("/", ".") or None if problem.errors else None
    return {"error": {"message": message, "type": kind, "param": param, "code": problem.code}}


async def on_problem(connection: HTTPConnection, error: Exception) -> Response:
    """Answer a `Problem` that an endpoint raised."""
    assert isinstance(error, Problem)
    if error.kind is Kind.INTERNAL:
        _log.error("a request failed", code=error.code, detail=error.detail)
    return respond(error, connection.scope)


async def on_validation(connection: HTTPConnection, error: Exception) -> Response:
    """Answer a request whose parameters or body break their schema."""
    assert isinstance(error, RequestValidationError)
    return respond(from_validation(error.errors()), connection.scope)


async def on_http(connection: HTTPConnection, error: Exception) -> Response:
    """Answer what the framework raises itself: unknown routes, methods, unreadable bodies."""
    assert isinstance(error, HTTPException)
    return respond(_from_http(error), connection.scope, error.headers)


def from_validation(faults: Sequence[Mapping[str, Any]]) -> Problem:
    """Turn pydantic's faults into one problem; pointers lead into the body, or name the parameter."""
    if any(f["type"] == "json_invalid" for f in faults):
        return Malformed("The body is not valid JSON.")
    errors = [FieldError(_place(f["loc"]), str(f["msg"])) for f in faults[:_MOST_ERRORS]]
    return Invalid(f"{len(faults)} fault(s) in the request.", errors=errors)


def _place(location: Iterable[str | int]) -> str:
    where, *path = location
    return pointer(path) if where == "body" else pointer([where, *path])


def _from_http(error: HTTPException) -> Problem:
    match error.status_code:
        case 404:
            return NotFound("There is nothing at this path; /openapi.json lists what there is.")
        case 405:
            return MethodNotAllowed("The resource does not have this method; the Allow header lists those it has.")
        case 413:
            return TooLarge("The body is larger than this route takes.")
        case 415:
            return UnsupportedMedia("The body is in a format that this route does not read.")
        case status if status >= _SERVER_FAULTS:
            return InternalError("The request could not be served; the request id finds it in the log.")
        case _:
            return Malformed("The request cannot be read.")
