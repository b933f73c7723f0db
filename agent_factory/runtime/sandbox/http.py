"""A small HTTP/1.1 client for the two servers that run jobs: a container engine's socket, a cluster's API server.

Both are the operator's own, named in the settings and never by a user, and
both want what the guarded client for the internet does not do: Unix sockets,
connections that are taken over, a cluster's own certificates.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

T = TypeVar("T")

_LINE = 1 << 16
_HEADERS = 100
_SWITCHING, _NO_CONTENT, _NOT_MODIFIED = 101, 204, 304


class ServerFailed(Exception):
    """No answer, or one that is no HTTP."""


class Server(msgspec.Struct, frozen=True):
    """Where a server is, and what every request to it carries."""

    host: str
    socket: Path | None = None
    port: int = 443
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = {}


class Reply(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the server did what it was asked for."""
        return self.status < 400  # noqa: PLR2004 - HTTP's own line

    def json(self, shape: type[T]) -> T:
        """Read the body as a document of a shape; raises `ServerFailed`."""
        try:
            return msgspec.json.decode(self.body, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ServerFailed(f"status {self.status}, and an answer of another shape") from error

    @property
    def words(self) -> str:
        """What the server says of a failure, cut short."""
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            return msgspec.json.decode(self.body, type=_Complaint).message[:500]
        return self.body[:500].decode("utf-8", "replace")


class _Complaint(msgspec.Struct):
    message: str


class Exchange:
    """A request whose answer is being read: its status, its lines, or the connection itself."""

    def __init__(self, status: int, headers: Mapping[str, str], pipes: "Wire") -> None:
        """Keep what stands before the body."""
        self.status = status
        self.wire = pipes
        self._headers = headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        reader = self.wire.reader
        if self.status in {_NO_CONTENT, _NOT_MODIFIED}:
            return
        if self._headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await reader.readline()).split(b";")[0].strip() or b"0", 16):
                yield await reader.readexactly(size)
                await reader.readline()
        elif (length := self._headers.get("content-length")) is not None:
            left = int(length)
            while left > 0 and (piece := await reader.read(min(left, _LINE))):
                left -= len(piece)
                yield piece
            if left:
                raise ServerFailed("the answer was cut short")
        else:
            while piece := await reader.read(_LINE):
                yield piece

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the body by lines, without their ends."""
        rest = b""
        async for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line
        if rest:
            yield rest


class Wire(msgspec.Struct, frozen=True):
    """The two directions of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def request(
    server: Server,
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: object = None,
    timeout: float = 30,  # noqa: ASYNC109 - the whole exchange, connecting included
    most: int = 10_000_000,
) -> Reply:
    """Send a request with a JSON body and read the whole answer, at most `most` bytes; raises `ServerFailed`."""
    try:
        async with asyncio.timeout(timeout), exchange(server, method, path, query=query, body=body) as answer:
            taken = bytearray()
            async for piece in answer.pieces():
                taken += piece
                if len(taken) > most:
                    raise ServerFailed("the answer is too long")
            return Reply(answer.status, bytes(taken))
    except TimeoutError as error:
        raise ServerFailed("no answer in time") from error


@asynccontextmanager
async def exchange(
    server: Server,
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: object = None,
    upgrade: bool = False,
) -> AsyncGenerator[Exchange, None]:
    """Send a request and read the answer as far as its body; the connection ends with the block.

    With `upgrade` the connection may become a plain two-way stream.
    """
    wire: Wire | None = None
    try:
        wire = await _connect(server)
        wire.writer.write(_head(server, method, path, query, body, upgrade=upgrade))
        await wire.writer.drain()
        status, headers = await _start(wire.reader)
        yield Exchange(status, headers, wire)
    except (OSError, EOFError, ValueError) as error:
        raise ServerFailed(str(error) or type(error).__name__) from error
    finally:
        if wire is not None:
            wire.writer.close()


async def _connect(server: Server) -> Wire:
    if server.socket is not None:
        return Wire(*await asyncio.open_unix_connection(str(server.socket)))
    return Wire(*await asyncio.open_connection(server.host, server.port, ssl=server.tls))


def _head(
    server: Server, method: str, path: str, query: Mapping[str, str] | None, body: object, *, upgrade: bool
) -> bytes:
    target = f"{path}?{urlencode(query)}" if query else path
    if not target.isprintable() or " " in target:
        raise ValueError("a path with odd characters")
    content = b"" if body is None else msgspec.json.encode(body)
    headers = {
        "Host": server.host,
        "Accept": "application/json",
        "Connection": "Upgrade" if upgrade else "close",
        "Content-Length": str(len(content)),
        **server.headers,
    }
    if upgrade:
        headers["Upgrade"] = "tcp"
    if body is not None:
        headers["Content-Type"] = "application/json"
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + content


async def _start(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    line = await reader.readline()
    words = line.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1."):  # noqa: PLR2004 - version and status
        raise ValueError("no HTTP answer")
    headers: dict[str, str] = {}
    for _ in range(_HEADERS):
        line = (await reader.readline()).strip()
        if not line:
            break
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers
