"""The one way out: an HTTP client that reaches the public internet and nothing else."""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import orjson
import pydantic
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from agent_factory.kit.errors import Kind, Problem
from agent_factory.security.addresses import is_public

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEPT_ABROAD = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""Request headers that may follow a redirect to another origin; all else may be a credential."""

_NUMBER_LIKE = re.compile(r"(?:^|\.)(?:0x[0-9a-f]*|[0-9]+)\.?$", re.IGNORECASE)
_CANONICAL_IPV4 = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_SETTLE_SECONDS = 0.25
"""How long the end of a finished stream is waited for, so that its connection can be used again."""


class EgressBlocked(Problem):
    """A request to an address that this server may not reach."""

    kind = Kind.FORBIDDEN
    code = "egress_blocked"
    title = "This address may not be reached"


class EgressFailed(Problem):
    """No answer: no connection, broken TLS, or a connection closed in the middle."""

    kind = Kind.UPSTREAM
    code = "egress_failed"
    title = "The other server could not be reached"
    retryable = True


class EgressUnreachable(EgressFailed):
    """There was no connection; nothing has been sent."""


class EgressTimeout(Problem):
    """The request's whole deadline passed."""

    kind = Kind.TIMEOUT
    code = "egress_timeout"
    title = "The other server did not answer in time"
    retryable = True


class EgressTooLarge(Problem):
    """An answer longer than the caller takes."""

    kind = Kind.UPSTREAM
    code = "egress_too_large"
    title = "The other server's answer is too large"


class EgressSettings(pydantic.BaseModel, frozen=True, extra="forbid"):
    """What outgoing requests may do; times in seconds.

    `allow` names `host:port` pairs that are open although they are private.
    """

    connect_timeout: float = pydantic.Field(default=10.0, gt=0, le=300)
    keepalive: float = pydantic.Field(default=60.0, ge=0, le=3600)
    connections: int = pydantic.Field(default=1000, ge=1)
    allow: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """A whole response; header names are lower case, `url` is the one that answered."""

    status: int
    headers: dict[str, str]
    body: bytes
    url: str = ""

    def json(self) -> Any:  # noqa: ANN401 - whatever the document is
        """Parse the body; a broken one is `EgressFailed`."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise EgressFailed("The other server's answer is not JSON.") from None

    @property
    def text(self) -> str:
        """The body as UTF-8, or what its Content-Type says; broken characters are replaced."""
        match = re.search(r"charset=[\"']?([\w.:-]+)", self.headers.get("content-type", ""), re.IGNORECASE)
        try:
            return self.body.decode(match[1] if match else "utf-8", "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")


class _Sending(msgspec.Struct, frozen=True):
    """A request that is ready to leave."""

    method: str
    target: yarl.URL
    headers: dict[str, str]
    data: bytes | None
    timeout: float
    max_bytes: int


class StreamAnswer:
    """A response whose body is read as it comes."""

    def __init__(self, response: aiohttp.ClientResponse, max_bytes: int) -> None:
        """Wrap an open response."""
        self.status = response.status
        self.headers = _headers(response)
        self._response = response
        self._max_bytes = max_bytes

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body in the pieces that the network gives.

        Raises `EgressTooLarge`, `EgressTimeout` or `EgressFailed`.
        """
        content = self._response.content
        left = self._max_bytes
        while True:
            try:
                chunk = await content.readany()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise _failure(error, self._response.url) from error
            if not chunk:
                return
            left -= len(chunk)
            if left < 0:
                raise _too_large(self._max_bytes)
            yield chunk

    async def read(self) -> bytes:
        """Read the rest of the body; raises like `chunks`."""
        content = self._response.content
        pieces: list[bytes] = []
        left = self._max_bytes
        while True:
            try:
                piece = await content.readany()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise _failure(error, self._response.url) from error
            if not piece:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            left -= len(piece)
            if left < 0:
                raise _too_large(self._max_bytes)
            pieces.append(piece)

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else close it."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    async def settle(self) -> None:
        """Wait a moment for the end of a body whose content is complete, to keep the connection."""
        content = self._response.content
        if not content.at_eof():
            try:
                async with asyncio.timeout(_SETTLE_SECONDS):
                    while await content.readany():
                        pass
            except (TimeoutError, aiohttp.ClientError, OSError):
                self._response.close()


class _Refused(OSError):
    """Raised at the dial; an OSError, so that the connector closes its sockets."""


def _guarded_socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, proto, _, address = info
    if not is_public(address[0]):
        raise _Refused(f"{address[0]} is not a public address")
    made = socket.socket(family=family, type=kind, proto=proto)
    made.setblocking(False)  # noqa: FBT003 - the signature of the standard library
    return made


class _PublicOnly(AbstractResolver):
    """Refuses a name when any of its addresses is private: a mixed answer is an attempt, not an accident."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if any(not is_public(r["host"]) for r in found):
            raise _blocked(host)
        return found

    async def close(self) -> None:
        await self._inner.close()


class _Connections:
    """The two pools, guarded and open, made when first needed and again on another event loop."""

    def __init__(self, settings: EgressSettings, resolver: AbstractResolver | None) -> None:
        self._settings = settings
        self._resolver = resolver
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def session(self, *, trusted: bool) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the connections of a loop that is gone are gone with it
            self._sessions = {}
            self._loop = loop
        found = self._sessions.get(trusted)
        if found is None:
            found = self._sessions[trusted] = self._open(trusted=trusted)
        return found

    def _open(self, *, trusted: bool) -> aiohttp.ClientSession:
        inner = self._resolver or aiohttp.ThreadedResolver()
        connector = aiohttp.TCPConnector(
            limit=self._settings.connections,
            keepalive_timeout=self._settings.keepalive,
            resolver=inner if trusted else _PublicOnly(inner),
            socket_factory=None if trusted else _guarded_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "agent-factory"},
        )

    async def close(self) -> None:
        sessions, self._sessions = self._sessions, {}
        if self._loop is asyncio.get_running_loop():
            for session in sessions.values():
                await session.close()


Watch = Callable[[str, bool], None]
"""Is told a host, and whether it was blocked."""


class Egress:
    """The guarded client; cheap to make, and safe to make before a loop runs.

    Every address is checked when it is dialled, so neither a redirect nor a
    name that changes its address gets around the check. Nothing is taken from
    the environment, no cookie is kept, no compressed body is accepted.
    """

    def __init__(self, settings: EgressSettings | None = None, *, resolver: AbstractResolver | None = None) -> None:
        """Keep the settings; `resolver` replaces the system's names."""
        self._settings = settings or EgressSettings()
        self._connections = _Connections(self._settings, resolver)
        self._trusted = frozenset(a.lower() for a in self._settings.allow)
        self._watch: Watch | None = None

    def trusting(self, *hosts: str) -> "Egress":
        """Give a client over the same connections that also reaches these `host:port` pairs.

        Only for addresses that the operator configured, never for a tenant's.
        """
        return self._other(self._trusted | {h.lower() for h in hosts}, self._watch)

    def watched(self, watch: Watch) -> "Egress":
        """Give a client over the same connections that tells of each host whether it was reached for or blocked."""
        return self._other(self._trusted, watch)

    def _other(self, trusted: frozenset[str], watch: Watch | None) -> "Egress":
        other = Egress.__new__(Egress)
        other._settings = self._settings  # noqa: SLF001 - its own class
        other._connections = self._connections  # noqa: SLF001 - its own class
        other._trusted = trusted  # noqa: SLF001 - its own class
        other._watch = watch  # noqa: SLF001 - its own class
        return other

    def refuse(self, host: str) -> None:
        """Tell whoever watches that a caller's own rules keep it from a host."""
        self._tell(host, blocked=True)

    def _tell(self, host: str | None, *, blocked: bool) -> None:
        if self._watch is not None and host:
            self._watch(host, blocked)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
        timeout: float = 30,  # noqa: ASYNC109 - the deadline of the whole exchange, redirects included
        max_bytes: int = 10_000_000,
        redirects: int = 0,
    ) -> Answer:
        """Make a request and read its answer within `timeout` seconds and `max_bytes`.

        Follows at most `redirects` redirects, each checked like the first, and
        takes no credential to another origin; the first one beyond is given
        back as it is. Raises `EgressBlocked`, `EgressFailed`, `EgressTimeout`
        or `EgressTooLarge`.
        """
        target = self._target(url, params)
        sent = dict(headers or {})
        sending = _Sending(method, target, sent, _payload(json, body, sent), timeout, max_bytes)
        if not redirects:
            answer = await self._open(sending)
            try:
                return Answer(answer.status, answer.headers, await answer.read(), str(target))
            finally:
                answer.close()
        try:
            async with asyncio.timeout(timeout):
                return await self._following(sending, redirects)
        except TimeoutError as error:
            raise _failure(error, target) from error

    async def _following(self, sending: _Sending, redirects: int) -> Answer:
        while True:
            async with self._exchange(sending) as answer:
                place = answer.headers.get("location") if answer.status in _REDIRECTS else None
                if place is None or redirects == 0:
                    return Answer(answer.status, answer.headers, await answer.read(), str(sending.target))
            redirects -= 1
            sending = _redirected(sending, answer.status, self._target(place, None, base=sending.target))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes | None = None,
        timeout: float = 300,  # noqa: ASYNC109 - the deadline of the whole exchange
        max_bytes: int = 100_000_000,
    ) -> AsyncGenerator[StreamAnswer]:
        """Make a request whose body is read in pieces; leaving the block early closes the connection.

        Follows no redirect. Raises like `request`.
        """
        sent = dict(headers or {})
        sending = _Sending(method, self._target(url, None), sent, _payload(json, body, sent), timeout, max_bytes)
        async with self._exchange(sending) as answer:
            yield answer

    @asynccontextmanager
    async def _exchange(self, sending: _Sending) -> AsyncGenerator[StreamAnswer]:
        answer = await self._open(sending)
        try:
            yield answer
        finally:
            answer.close()

    async def _open(self, sending: _Sending) -> StreamAnswer:
        target, max_bytes = sending.target, sending.max_bytes
        try:
            response = await self._send(sending)
        except EgressBlocked:
            self._tell(target.host, blocked=True)
            raise
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            failure = _failure(error, target)
            self._tell(target.host, blocked=isinstance(failure, EgressBlocked))
            raise failure from error
        self._tell(target.host, blocked=False)
        answer = StreamAnswer(response, max_bytes)
        try:
            if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
                raise EgressFailed(f"{target.host} answers compressed although it was asked not to.")
            if (response.content_length or 0) > max_bytes and sending.method != "HEAD":
                raise _too_large(max_bytes)
        except Problem:
            answer.close()
            raise
        return answer

    async def _send(self, sending: _Sending) -> aiohttp.ClientResponse:
        session = self._connections.session(trusted=self._trusts(sending.target))

        def request() -> Awaitable[aiohttp.ClientResponse]:
            return session.request(
                sending.method,
                sending.target,
                headers=sending.headers,
                data=sending.data,
                timeout=aiohttp.ClientTimeout(total=sending.timeout, sock_connect=self._settings.connect_timeout),
                allow_redirects=False,
            )

        try:
            return await request()
        except aiohttp.ClientOSError as error:
            # The server closed an idle connection just as it was taken: nothing of the request has left yet.
            if not isinstance(error.__cause__, aiohttp.ClientConnectionResetError):
                raise
            return await request()

    def _trusts(self, target: yarl.URL) -> bool:
        return bool(self._trusted) and f"{target.host}:{target.port}".lower() in self._trusted

    def _target(self, url: str, params: Mapping[str, str] | None, base: yarl.URL | None = None) -> yarl.URL:
        try:
            target = base.join(yarl.URL(url)) if base else yarl.URL(url)
            host, port = target.host, target.port
        except ValueError:
            raise EgressBlocked("This is not a URL that can be requested.") from None
        if target.scheme not in ("http", "https") or not host or not port:
            raise EgressBlocked("Only whole http:// and https:// URLs can be requested.")
        if target.raw_user is not None or target.raw_password is not None:
            raise EgressBlocked("A URL with a user or password in it is not requested; send a header instead.")
        if not self._trusts(target):
            try:
                _check_spelling(host)
            except EgressBlocked:
                self._tell(host, blocked=True)
                raise
        return target.extend_query(params) if params else target

    async def close(self) -> None:
        """Close every connection; the client can be used again afterwards."""
        await self._connections.close()


def _check_spelling(host: str) -> None:
    """Refuse literal private addresses, and numbers that some resolver may take for an address."""
    if ":" in host or _CANONICAL_IPV4.fullmatch(host):
        if not is_public(host):
            raise _blocked(host)
    elif _NUMBER_LIKE.search(host) or host.rstrip(".").lower().rpartition(".")[2] == "localhost":
        raise _blocked(host)


def _redirected(sending: _Sending, status: int, target: yarl.URL) -> _Sending:
    method, headers, data = sending.method, sending.headers, sending.data
    if status == 303 or (status in (301, 302) and method == "POST"):  # noqa: PLR2004 - RFC 9110
        method, data = "GET", None
        headers = {k: v for k, v in headers.items() if k.lower() != "content-type"}
    if sending.target.origin() != target.origin():
        headers = {k: v for k, v in headers.items() if k.lower() in _KEPT_ABROAD}
    return _Sending(method, target, headers, data, sending.timeout, sending.max_bytes)


def _payload(json: object, body: bytes | None, headers: dict[str, str]) -> bytes | None:
    if json is None:
        return body
    if not any(k.lower() == "content-type" for k in headers):
        headers["Content-Type"] = "application/json"
    return orjson.dumps(json)


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {k.lower(): v for k, v in response.headers.items()}


def _blocked(host: str) -> EgressBlocked:
    return EgressBlocked(f"{host[:200]} is not on the public internet; the operator can open it in the settings.")


def _too_large(most: int) -> EgressTooLarge:
    return EgressTooLarge(f"The answer is longer than {most} bytes.")


def _failure(error: BaseException, url: yarl.URL) -> Problem:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _Refused):
        return _blocked(url.host or "")
    where = f"{url.host}:{url.port}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return EgressUnreachable(f"{where} did not accept a connection in time.")
    if isinstance(error, TimeoutError):
        return EgressTimeout(f"{where} did not answer in time.")
    if isinstance(error, aiohttp.ClientConnectorError):
        return EgressUnreachable(f"No connection to {where}.")
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return EgressBlocked("This is not a request that can be sent.")
    return EgressFailed(f"{where} broke off the answer.")
