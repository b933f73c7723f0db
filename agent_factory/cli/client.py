"""The API of a running server, as commands use it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import typer

from agent_factory.cli import options
from agent_factory.cli.problems import CommandFailed, Told
from agent_factory.cli.state import Credentials, SignedIn
from agent_factory.kit.errors import Kind, NotFound
from agent_factory.security.egress import Egress, EgressFailed

_DEFAULT_URL = "http://127.0.0.1:8080"
_KINDS = {
    401: Kind.UNAUTHENTICATED,
    403: Kind.FORBIDDEN,
    402: Kind.BUDGET,
    404: Kind.NOT_FOUND,
    412: Kind.PRECONDITION_FAILED,
}
_FAILED = 400
_PREFIXES = {"agent": "agt_", "workflow": "wf_"}
"""How ids begin."""
_ANSWER_SECONDS = 60.0
_TURN_SECONDS = 3600.0
_SPARE_SECONDS = 30.0
"""How long a token has to be good for yet, so that a command can use it."""
_LONGEST = 100_000_000_000
"""Bytes of what is written to a file as it comes."""


class NoServer(CommandFailed):
    """Nothing answers at the server's address."""

    kind = Kind.UNAVAILABLE
    code = "no_server"
    title = "No server answers"


class BadAddress(CommandFailed):
    """What was given as the server's address is none."""

    kind = Kind.INVALID
    code = "bad_address"
    title = "No address of a server"


class NoKey(CommandFailed):
    """No key is known for the server."""

    kind = Kind.UNAUTHENTICATED
    code = "no_api_key"
    title = "No API key"


class Reply(msgspec.Struct, frozen=True):
    """A good answer: its JSON data (nothing for 204) and its headers, names in lower case."""

    status: int
    data: Any
    headers: Mapping[str, str]


class Event(msgspec.Struct, frozen=True):
    """One server-sent event."""

    name: str
    data: str
    id: str = ""


class Server:
    """One server, with the caller's key. Every failed answer is raised as the problem it reports."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url.rstrip("/")
        self._egress = Egress()
        self._door = self._egress.trusting(_place(self.url))
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}

    async def close(self) -> None:
        """Close the connections."""
        await self._egress.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask, and give the JSON answer."""
        given = {k: str(v) for k, v in (params or {}).items() if v is not None}
        try:
            answer = await self._door.request(
                method,
                self.url + path,
                headers={**self._headers, **(headers or {})},
                json=json,
                params=given,
                timeout=_ANSWER_SECONDS,
            )
        except EgressFailed:
            raise self._absent() from None
        if answer.status >= _FAILED:
            raise told(answer.status, answer.body)
        return Reply(answer.status, msgspec.json.decode(answer.body) if answer.body else None, answer.headers)

    async def every(self, path: str, params: Mapping[str, Any] | None = None) -> AsyncGenerator[dict[str, Any], None]:
        """Fetch every row of a listing, page by page."""
        cursor: str | None = None
        while True:
            page = (await self.request("GET", path, params={**(params or {}), "limit": 100, "cursor": cursor})).data
            for row in page["data"]:
                yield row
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def find(self, noun: str, ref: str) -> dict[str, Any]:
        """Fetch an agent or a workflow by name or by id; raises `NotFound`."""
        found = (await self.request("GET", f"/api/v1/{noun}s", params={"name": ref})).data["data"]
        if not found and not ref.startswith(_PREFIXES[noun]):
            raise NotFound(f"There is no {noun} {ref!r}; see `agent-factory {noun} list`.")
        identity = found[0]["id"] if found else ref
        return (await self.request("GET", f"/api/v1/{noun}s/{identity}")).data

    async def events(
        self, method: str, path: str, *, json: object = None, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Event, None]:
        """Ask for a stream of server-sent events."""
        asked = {**self._headers, "accept": "text/event-stream", **(headers or {})}
        try:
            async with self._door.stream(
                method, self.url + path, headers=asked, json=json, timeout=_TURN_SECONDS
            ) as answer:
                if answer.status >= _FAILED:
                    raise told(answer.status, b"".join([chunk async for chunk in answer.chunks()]))
                async for event in _events(answer.chunks()):
                    yield event
        except EgressFailed:
            raise self._absent() from None

    async def pieces(self, path: str, params: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """Ask for something long, and give it as it comes."""
        given = urlencode({k: v for k, v in params.items() if v is not None})
        try:
            async with self._door.stream(
                "GET", f"{self.url}{path}?{given}", headers=self._headers, timeout=_TURN_SECONDS, max_bytes=_LONGEST
            ) as answer:
                if answer.status >= _FAILED:
                    raise told(answer.status, await answer.read())
                async for piece in answer.chunks():
                    yield piece
        except EgressFailed:
            raise self._absent() from None

    def _absent(self) -> NoServer:
        return NoServer(f"No server answers at {self.url}. Start one with: agent-factory up")


def _place(url: str) -> str:
    """Give `host:port` of a server's address."""
    try:
        split = urlsplit(url)
        port = split.port or {"http": 80, "https": 443}[split.scheme]
    except (ValueError, KeyError):
        raise BadAddress(f"{url!r} is no address of a server; write http://HOST:PORT.") from None
    if not split.hostname:
        raise BadAddress(f"{url!r} names no host; write http://HOST:PORT.")
    return f"{split.hostname}:{port}"


def told(status: int, body: bytes) -> Told:
    """Read a failed answer: a problem document, or whatever stands in front of our server."""
    try:
        report = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        report = {"detail": f"The server answered {status}, which is not one of our errors.", "code": "bad_answer"}
    return Told(report, _KINDS.get(status, Kind.INTERNAL))


async def _events(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[Event, None]:
    buffer = b""
    async for chunk in chunks:
        *blocks, buffer = (buffer + chunk).split(b"\n\n")
        for block in blocks:
            event = _event(block.decode())
            if event is not None:
                yield event


def _event(block: str) -> Event | None:
    fields: dict[str, list[str]] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields:
        return None
    return Event(fields.get("event", ["message"])[-1], "\n".join(fields["data"]), fields.get("id", [""])[-1])


def url_of(ctx: typer.Context) -> str:
    """Find the server: the flag goes over the environment, and that over what `up` kept."""
    chosen = options.of(ctx)
    kept = chosen.state.credentials
    return chosen.url or (kept.url if kept else _DEFAULT_URL)


def key_of(ctx: typer.Context) -> Credentials:
    """Find the server and the key: flags go over the environment, and that over what `up` kept."""
    chosen = options.of(ctx)
    kept = chosen.state.credentials
    key = chosen.api_key or (kept.api_key if kept else None)
    url = url_of(ctx)
    if key is None:
        raise NoKey(
            f"No API key is known for {url}. Start a server with `agent-factory up`, "
            "log in to a running one with `agent-factory login`, or give a key of it by --api-key or AF_API_KEY."
        )
    return Credentials(url, key)


async def signed_in(ctx: typer.Context) -> Credentials | None:
    """Find the login of this machine, unless a key or another server is given; its token is fresh."""
    chosen = options.of(ctx)
    login = chosen.state.signed_in
    if login is None or chosen.api_key is not None or chosen.url not in {None, login.url}:
        return None
    with chosen.state.one_at_a_time():
        login = chosen.state.signed_in  # another command may just have changed it
        if login is not None and login.expires_at < time.time() + _SPARE_SECONDS:
            login = await _refreshed(login)
            chosen.state.keep_login(login)
    return None if login is None else Credentials(login.url, login.access_token)


async def _refreshed(login: SignedIn) -> SignedIn | None:
    """Get new tokens; nothing where the session has ended."""
    server = Server(login.url, "")
    try:
        given = (await server.request("POST", "/api/v1/auth/refresh", json={"refresh_token": login.refresh_token})).data
    except Told as problem:
        if problem.reported_kind is not Kind.UNAUTHENTICATED:
            raise
        typer.echo("your session has ended; log in again with: agent-factory login", err=True)
        return None
    finally:
        await server.close()
    return msgspec.structs.replace(
        login,
        access_token=given["access_token"],
        refresh_token=given["refresh_token"],
        expires_at=time.time() + given["expires_in"],
    )


@asynccontextmanager
async def connected(ctx: typer.Context) -> AsyncGenerator[Server, None]:
    """Reach the server that flags, environment, a login or the state folder name."""
    found = await signed_in(ctx) or key_of(ctx)
    server = Server(found.url, found.api_key)
    try:
        yield server
    finally:
        await server.close()


def call(
    ctx: typer.Context,
    method: str,
    path: str,
    *,
    json: object = None,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Make one request of the API, below `/api/v1`."""

    async def once() -> Reply:
        async with connected(ctx) as server:
            return await server.request(method, f"/api/v1{path}", json=json, params=params, headers=headers)

    return asyncio.run(once())


def call_openly(ctx: typer.Context, path: str, *, json: object) -> Reply:
    """Make one POST that needs no key, below `/api/v1`."""

    async def once() -> Reply:
        server = Server(url_of(ctx), "")
        try:
            return await server.request("POST", f"/api/v1{path}", json=json)
        finally:
            await server.close()

    return asyncio.run(once())
