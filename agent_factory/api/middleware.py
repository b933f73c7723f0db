"""What every request passes on its way in and out, as plain ASGI."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_factory.api.admission import Gate
from agent_factory.api.body import check_json
from agent_factory.api.cors import Lines, preflight
from agent_factory.api.edge import Edge
from agent_factory.api.problems import (
    InternalError,
    Malformed,
    RequestTimeout,
    TooLarge,
    UnsupportedMedia,
    respond,
)
from agent_factory.api.proxies import Proxies
from agent_factory.api.settings import ServerSettings
from agent_factory.api.yaml import MEDIA as YAML
from agent_factory.kit.errors import Kind, Problem
from agent_factory.kit.ids import uuid7
from agent_factory.monitoring.metrics import Metrics
from agent_factory.security.auth import Actor
from agent_factory.security.rate_limit import Standing

_log = structlog.stdlib.get_logger("agent_factory.http")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_DRAINED = 16
"""Times the limit that a refused body is still read (and dropped), so that its sender gets to see the answer."""
_CLIENT_CLOSED = 499
_POLICY_VIOLATION = 1008
_CLOSE = (b"connection", b"close")
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_ENDLESS = (b"text/event-stream", b"application/x-ndjson")
"""Media types whose answers have no deadline: each piece of them is made as it is read."""
_NO_STORE = (b"cache-control", b"no-store")
_API_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_PROBES = frozenset({"/health", "/ready"})
"""Paths that are answered however much there is to do, for whoever asks would end the process otherwise."""
_PREFLIGHT = "preflight"
"""What stands for a route in the limits of preflights."""


class OriginNotAllowed(Problem):
    """A page of an origin that no organisation has named."""

    kind = Kind.FORBIDDEN
    code = "origin_not_allowed"
    title = "The origin is not allowed"


class SlowBody(Problem):
    """A body that came too slowly."""

    kind = Kind.SLOW
    code = "body_too_slow"
    title = "The body came too slowly"


class Entrance:
    """Request id, trace, edge, admission, deadline, CORS, headers, metrics, log, and the last resort for errors."""

    def __init__(self, app: ASGIApp, *, settings: ServerSettings, metrics: Metrics, log_requests: bool) -> None:
        self.app = app
        self.timeout = settings.request_timeout
        self.edge = Edge(settings)
        self.gate = Gate(settings.max_in_flight, settings.max_lag)
        self.proxies = Proxies(settings.proxies, settings.proxy_header)
        self.patience = settings.stream_timeout
        self.metrics = metrics
        self.log_requests = log_requests
        self.security = _SECURITY
        if settings.hsts:
            self.security = (*_SECURITY, (b"strict-transport-security", f"max-age={settings.hsts}".encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; nothing but cancellation leaves here."""
        if scope["type"] == "http":
            await _Exchange(self, scope, receive, send).serve()
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})  # we speak HTTP, whatever a server can


class _Exchange:
    """One request and its answer."""

    def __init__(self, entrance: Entrance, scope: Scope, receive: Receive, send: Send) -> None:
        self._entrance = entrance
        self._scope = scope
        self._receive = receive
        self._send_on = send
        self._status = 0
        self._inside = False
        self._endless = False
        self._deadline: asyncio.Timeout | None = None
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._request_id = _matching(_REQUEST_ID, self._headers.get(b"x-request-id")) or uuid7().hex.encode()
        self._traceparent = _matching(_TRACEPARENT, self._headers.get(b"traceparent"))
        self._origin = self._headers.get(b"origin")
        state: dict[str, Any] = dict(scope.get("state") or {})
        state["request_id"] = self._request_id.decode()
        state["address"] = entrance.proxies.address(scope)
        if self._traceparent:
            state["traceparent"] = self._traceparent.decode()
        scope["state"] = self._state = state
        scope["scheme"] = entrance.proxies.scheme(scope)

    async def serve(self) -> None:
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=self._state["request_id"]):
            try:
                await self._serve()
            finally:
                self._leave()
                took = time.perf_counter() - started
                status = self._status or _CLIENT_CLOSED
                self._entrance.metrics.request(self._scope["method"], _template(self._scope), status, took)
                if self._entrance.log_requests:
                    _log.info(
                        "request",
                        method=self._scope["method"],
                        path=self._scope["path"],
                        status=status,
                        ms=round(took * 1000, 2),
                    )

    async def _serve(self) -> None:
        seconds = self._entrance.timeout
        try:
            self._entrance.edge.check(self._scope, self._headers)
            if self._scope["path"] not in _PROBES or self._scope["method"] in _WITH_BODY:
                self._entrance.gate.enter()
                self._inside = True
            async with asyncio.timeout(seconds) as self._deadline:
                if self._scope["method"] == "OPTIONS" and b"access-control-request-method" in self._headers:
                    await self._answer_preflight()
                else:
                    await self._entrance.app(self._scope, self._receive, self._send)
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

    async def _answer_preflight(self) -> None:
        """Tell a browser that a page may ask, if any organisation says so; whose page it is shows only later."""
        app = self._scope["app"].state
        self._state["standing"] = app.limiter.standing(None, self._state["address"], _PREFLIGHT)
        await self._state["standing"].admit()
        if self._origin is None or not await app.origins.allowed_by(self._origin):
            raise OriginNotAllowed("No organisation allows pages of this origin to read its answers.")
        headers = preflight(self._origin, self._headers.get(b"access-control-request-headers", b"authorization"))
        await self._send({"type": "http.response.start", "status": 204, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._add_headers(message)
            if self._origin is not None:
                message["headers"] += await self._cors(self._origin)
        deadline = self._deadline if self._endless else None
        if deadline is None or deadline.expired():
            await self._send_on(message)
            return
        # A reader may take its time over the whole of a stream, and not over a piece of it.
        deadline.reschedule(asyncio.get_running_loop().time() + self._entrance.patience)
        await self._send_on(message)
        deadline.reschedule(None)

    def _add_headers(self, message: Message) -> None:
        headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
        present = {name: value for name, value in headers}  # noqa: C416 - a dict() of bytes pairs loses its type
        headers.append((b"x-request-id", self._request_id))
        if b"transfer-encoding" in self._headers:
            # Whatever stands behind the last chunk is nobody's request: a machine in front may have read this one as
            # longer or shorter (RFC 9112, 6.1), and servers do not tell whether a Content-Length came as well.
            headers.append(_CLOSE)
        if self._traceparent:
            headers.append((b"traceparent", self._traceparent))
        headers.extend(self._entrance.security)
        if b"cache-control" not in present:
            headers.append(_NO_STORE)
        if b"content-security-policy" not in present:
            headers.append(_API_POLICY)
        standing: Standing | None = self._state.get("standing")
        if standing is not None and standing.buckets:
            headers.append((b"ratelimit-policy", standing.policy))
            headers.append((b"ratelimit", standing.state()))
        if present.get(b"content-type", b"").startswith(_ENDLESS):
            self._begin_stream()
        message["headers"] = headers

    async def _cors(self, origin: bytes) -> Lines:
        """Let a page read an answer to its own organisation; who is unknown is answered as ever, unread by the page."""
        actor: Actor | None = self._state.get("actor")
        vary = [(b"vary", b"Origin")]
        return (
            vary
            if actor is None
            else vary + await self._scope["app"].state.origins.lines(origin, actor.organization_id)
        )

    def _begin_stream(self) -> None:
        """Take away the deadline of an answer that lasts, and its place among those that are worked on."""
        self._endless = True
        self._leave()

    def _leave(self) -> None:
        if self._inside:
            self._inside = False
            self._entrance.gate.leave()


def _matching(pattern: re.Pattern[bytes], value: bytes | None) -> bytes | None:
    return value if value is not None and pattern.fullmatch(value) else None


def _template(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path_format", None) or getattr(route, "path", None) or "unmatched"


class BodyGuard:
    """Reads a body once, within its limit, and lets only sound JSON through."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body: int,
        body_timeout: float = 30.0,
        any_media: tuple[str, ...] = (),
        bar: Callable[[Scope], None] | None = None,
        count: Callable[[Scope], Awaitable[None]] | None = None,
    ) -> None:
        """Take bodies of at most `max_body` bytes that are whole within `body_timeout` seconds.

        Below the paths of `any_media` they need not be JSON. `bar` raises for whoever is turned away unread; what
        is refused here comes to no route, and is counted by `count`.
        """
        self._bar = bar
        self._count = count
        self._app = app
        self._max_body = max_body
        self._timeout = body_timeout
        self._any_media = any_media

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request whose body, if any, is whole and sound."""
        if scope["type"] != "http" or scope["method"] not in _WITH_BODY:
            await self._app(scope, receive, send)
            return
        if self._bar is not None:
            self._bar(scope)
        try:
            body = await self._sound(scope, receive)
        except Problem:
            if self._count is not None:
                await self._count(scope)
            raise
        await self._app(scope, _replay(body, receive), send)

    async def _sound(self, scope: Scope, receive: Receive) -> bytes:
        """Read a body; raises what is wrong with it."""
        try:
            async with asyncio.timeout(self._timeout):
                body = await self._read(receive)
        except TimeoutError:
            raise SlowBody(f"A body has to be whole within {self._timeout:g} s; send it faster, or less.") from None
        media = _media_type(scope)
        if not body or (media.decode("latin-1") in YAML and scope["path"].startswith("/api/")):
            return body  # the route knows whether it reads YAML, and reads it only for callers that it knows
        if media == b"application/json" or (media.startswith(b"application/") and media.endswith(b"+json")):
            check_json(body)
        elif not self._any_media or not scope["path"].startswith(self._any_media):
            raise UnsupportedMedia("The body has to be JSON, sent as Content-Type: application/json.")
        return body

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
