"""What every request passes on its way in and out, as plain ASGI."""

import asyncio
import re
import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_factory.api.body import check_json
from agent_factory.api.problems import (
    InternalError,
    Malformed,
    RequestTimeout,
    TooLarge,
    UnsupportedMedia,
    respond,
)
from agent_factory.api.settings import ServerSettings
from agent_factory.api.yaml import MEDIA as YAML
from agent_factory.kit.errors import Problem
from agent_factory.kit.ids import uuid7
from agent_factory.monitoring.metrics import Metrics

_log = structlog.stdlib.get_logger("agent_factory.http")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_DRAINED = 16
"""Times the limit that a refused body is still read (and dropped), so that its sender gets to see the answer."""
_CLIENT_CLOSED = 499
_SERVER_FAULTS = 500
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NO_STORE = (b"cache-control", b"no-store")
_API_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Entrance:
    """Request id, trace, host check, deadline, security headers, metrics, log, and the last resort for errors."""

    def __init__(self, app: ASGIApp, *, settings: ServerSettings, metrics: Metrics, log_requests: bool) -> None:
        self._app = app
        self._timeout = settings.request_timeout
        self._hosts = frozenset(h.lower().encode() for h in settings.hosts)
        self._metrics = metrics
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; nothing but cancellation leaves here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self._app, scope, receive, send).serve(
            self._timeout, self._hosts, self._metrics, log=self._log_requests
        )


class _Exchange:
    """One request and its answer."""

    def __init__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send_on = send
        self._status = 0
        self._deadline: asyncio.Timeout | None = None
        request_id, traceparent, self._host = _read_headers(scope)
        self._request_id = request_id
        self._traceparent = traceparent
        state: dict[str, Any] = dict(scope.get("state") or {})
        state["request_id"] = request_id.decode()
        if traceparent:
            state["traceparent"] = traceparent.decode()
        scope["state"] = state

    async def serve(self, seconds: float, hosts: frozenset[bytes], metrics: Metrics, *, log: bool) -> None:
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=self._request_id.decode()):
            try:
                await self._serve(seconds, hosts)
            finally:
                took = time.perf_counter() - started
                status = self._status or _CLIENT_CLOSED
                metrics.request(self._scope["method"], _template(self._scope), status, took)
                if log:
                    _log.info(
                        "request",
                        method=self._scope["method"],
                        path=self._scope["path"],
                        status=status,
                        ms=round(took * 1000, 2),
                    )

    async def _serve(self, seconds: float, hosts: frozenset[bytes]) -> None:
        try:
            if hosts and self._host not in hosts:
                raise Malformed("The server does not answer to this Host.")  # noqa: TRY301 - answered below, as all are
            _check_path(self._scope)
            async with asyncio.timeout(seconds) as self._deadline:
                await self._app(self._scope, self._receive, self._send)
        except Problem as problem:
            await self._answer(problem)
        except TimeoutError:
            if self._deadline is None or not self._deadline.expired():
                _log.exception("unexpected error", path=self._scope["path"])
                await self._answer(InternalError("The fault is ours; the request id finds it in the log."))
            else:
                await self._answer(RequestTimeout(f"There was no answer within {seconds:g} s."))
        except Exception:  # noqa: BLE001 - whatever an endpoint did not foresee ends its request, not the process
            _log.exception("unexpected error", path=self._scope["path"])
            await self._answer(InternalError("The fault is ours; the request id finds it in the log."))

    async def _answer(self, problem: Problem) -> None:
        if not self._status:
            await respond(problem, self._scope)(self._scope, self._receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._add_headers(message)
        await self._send_on(message)

    def _add_headers(self, message: Message) -> None:
        headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
        present = {name: value for name, value in headers}  # noqa: C416 - a dict() of bytes pairs loses its type
        headers.append((b"x-request-id", self._request_id))
        if self._traceparent:
            headers.append((b"traceparent", self._traceparent))
        headers.extend(_SECURITY)
        if b"cache-control" not in present:
            headers.append(_NO_STORE)
        if b"content-security-policy" not in present:
            headers.append(_API_POLICY)
        if present.get(b"content-type", b"").startswith(b"text/event-stream") and self._deadline is not None:
            self._deadline.reschedule(None)
        message["headers"] = headers


def _read_headers(scope: Scope) -> tuple[bytes, bytes | None, bytes]:
    request_id = traceparent = None
    host = b""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value
        elif name == b"traceparent" and _TRACEPARENT.fullmatch(value):
            traceparent = value
        elif name == b"host":
            host = value.lower().rsplit(b":", 1)[0] if not value.endswith(b"]") else value.lower()
    return request_id or uuid7().hex.encode(), traceparent, host


def _check_path(scope: Scope) -> None:
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise Malformed("The address holds a NUL character.")


def _template(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path_format", None) or getattr(route, "path", None) or "unmatched"


class BodyGuard:
    """Reads a body once, within its limit, and lets only sound JSON through."""

    def __init__(self, app: ASGIApp, *, max_body: int, any_media: tuple[str, ...] = ()) -> None:
        """Take bodies of at most so many bytes; below the paths of `any_media` they need not be JSON."""
        self._app = app
        self._max_body = max_body
        self._any_media = any_media

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request whose body, if any, is whole and sound."""
        if scope["type"] != "http" or scope["method"] not in _WITH_BODY:
            await self._app(scope, receive, send)
            return
        body = await self._read(receive)
        if body:
            media = _media_type(scope)
            if media.decode("latin-1") in YAML and scope["path"].startswith("/api/"):
                # The route knows whether it reads this, and reads it only for callers that it knows.
                await self._app(scope, _replay(body, receive), send)
                return
            if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
                if self._any_media and scope["path"].startswith(self._any_media):
                    await self._app(scope, _replay(body, receive), send)
                    return
                raise UnsupportedMedia("The body has to be JSON, sent as Content-Type: application/json.")
            check_json(body)
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        more = True
        while more and size <= self._max_body * _DRAINED:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Malformed("The connection closed before the body was whole.")
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size <= self._max_body:
                chunks.append(chunk)
            else:
                chunks.clear()
            more = message.get("more_body", False)
        if size > self._max_body:
            raise TooLarge(f"A body has at most {self._max_body} bytes.")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _media_type(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return value.split(b";", 1)[0].strip().lower()
    return b""


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
