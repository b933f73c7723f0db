"""What no client would send: bytes on a socket, to the server as `agent-factory up` starts it (S201)."""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.cli.conftest import Up, clean_environment
from tests.keyfile import KEY_FILE

SLOW = 1000
HOST = b"Host: localhost\r\n"
PATIENCE = 20.0
SERVERS_OWN = 65_536
"""Bytes of headers beyond which granian hangs up by itself."""


class Server:
    """A running server, spoken to in bytes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = urlsplit(url).port

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *pieces: bytes) -> bytes:
        """Send bytes and give all that is answered until the server closes the connection.

        It is read while it is sent, for an answer can come before the end of what was sent.
        """
        reader, writer = await self.open()
        answer = b""

        async def send() -> None:
            with suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()

        async def read() -> None:
            nonlocal answer
            with suppress(ConnectionError):
                while piece := await reader.read(65_536):
                    answer += piece

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(send(), read())
        writer.close()
        return answer


@asynccontextmanager
async def running(folder: Path, database_url: str, *arguments: str) -> AsyncGenerator[Server, None]:
    environment = clean_environment(folder) | {
        "AF_SERVER__BODY_TIMEOUT": "0.5",
        "AF_SERVER__HEADER_TIMEOUT": "3",
        "AF_QUEUE__WORKER": "false",
        "AF_ENCRYPTION__KEY_FILE": str(KEY_FILE),  # the database is that of other applications, too
    }
    (folder / "home").mkdir()
    up = await asyncio.to_thread(Up, environment, "--database-url", database_url, *arguments)
    yield Server(up.url)
    await asyncio.to_thread(up.stop)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> AsyncGenerator[Server, None]:
    async with running(tmp_path_factory.mktemp("up"), database_url) as made:
        yield made


@pytest.fixture(scope="module")
async def uvicorn(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> AsyncGenerator[Server, None]:
    async with running(tmp_path_factory.mktemp("uvicorn"), database_url, "--server", "uvicorn") as made:
        yield made


@pytest.fixture(params=["granian", "uvicorn"])
def either(request: pytest.FixtureRequest, server: Server, uvicorn: Server) -> Server:
    """Each of the servers that serve the product."""
    return server if request.param == "granian" else uvicorn


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]


CLOSED = b"Connection: close\r\n"


@pytest.mark.parametrize("size", [5_000_000, 200_000, 40_000])
async def test_an_authorization_header_of_any_size_is_refused_before_it_is_looked_at(server: Server, size: int) -> None:
    """Abuse 11."""
    answer = await server.say(
        b"GET /api/v1/agents HTTP/1.1\r\n", HOST, CLOSED, b"Authorization: Bearer ", b"a" * size, b"\r\n\r\n"
    )
    # what is still on its way when the server hangs up makes the network throw the answer away
    assert statuses(answer) in ([400], [431], *([[]] if size > SERVERS_OWN else []))


async def test_a_thousand_headers_are_refused(server: Server) -> None:
    lines = b"".join(b"X-%d: 1\r\n" % n for n in range(1000))
    assert statuses(await server.say(b"GET / HTTP/1.1\r\n", HOST, CLOSED, lines, b"\r\n")) in ([400], [431])


CL_AND_TE = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 1000\r\n",
    b"Content-Length: 0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
    b"transfer-encoding: CHUNKED\r\ncontent-length: 5\r\n",
    b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
]
HIDDEN = [
    b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /api/v1/agents HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /docs HTTP/1.1\r\nHost: localhost\r\nX-Swallows: ",
]
READ_AND_UNREAD = [b"POST /api/v1/agents", b"GET /api/v1/agents", b"GET /health", b"DELETE /nothing", b"FROB /health"]
"""Requests whose bodies are read before the answer, and requests whose bodies never are."""


@pytest.mark.parametrize("start", READ_AND_UNREAD)
@pytest.mark.parametrize("framing", CL_AND_TE)
async def test_behind_the_last_chunk_of_a_request_nothing_is_served(
    either: Server, framing: bytes, start: bytes
) -> None:
    """A proxy that reads the length, and a server that reads the chunks, would see two different requests.

    The connection ends with the one answer (RFC 9112, 6.1), whatever was hidden behind the chunks.
    """
    for hidden in HIDDEN:
        head = start + b" HTTP/1.1\r\n" + HOST + framing + b"\r\n"
        answer = await either.say(head + b"2\r\n{}\r\n0\r\n\r\n" + hidden)
        assert len(statuses(answer)) == 1, answer
        assert b"<!doctype" not in answer
        assert re.search(rb"(?i)\r\nconnection: close\r\n", answer)


@pytest.mark.parametrize("start", READ_AND_UNREAD)
async def test_a_body_is_never_taken_for_a_request(either: Server, start: bytes) -> None:
    """It belongs to the request before it, whether or not anybody read it."""
    hidden = b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for body in (b"%s" % hidden, hidden * 200):
        head = start + b" HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body)
        answer = await either.say(head, body, b"GET /health HTTP/1.1\r\n", HOST, CLOSED, b"\r\n")
        assert b"<!doctype" not in answer
        assert len(statuses(answer)) <= 2


async def test_whoever_does_not_get_to_the_point_is_hung_up_on(server: Server) -> None:
    """Abuse 73: also who says nothing at all, or begins as HTTP/2 would, which is not spoken here."""
    pieces = [b"", b"PRI * HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\n"]
    pieces.append(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")  # and goes on saying nothing
    answers = await asyncio.gather(*(server.say(piece) for piece in pieces))
    assert [statuses(a) for a in answers[3:]] == [[], [], [200]]


HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
UPGRADES = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n"
    % base64.b64encode(bytes(16)),
]


@pytest.mark.parametrize("lines", UPGRADES)
async def test_no_other_protocol_is_changed_to(either: Server, lines: bytes) -> None:
    """One protocol, so that there is one place where requests are checked: an upgrade is an ordinary request."""
    good = await either.say(
        b"GET /health HTTP/1.1\r\n", HOST, lines, b"\r\nGET /health HTTP/1.1\r\n", HOST, CLOSED, b"\r\n"
    )
    assert statuses(good) == [200, 200]
    bad = await either.say(
        b"GET /health HTTP/1.1\r\nHost: evil.example.com\r\n", lines, b"\r\n", b"GET / HTTP/1.0\r\n\r\n"
    )
    assert statuses(bad)[0] == 400


async def test_http_2_is_not_spoken(either: Server) -> None:
    assert set(statuses(await either.say(HTTP2))) <= {400}


@pytest.mark.parametrize("start", [b"CONNECT evil.example.com:80", b"CONNECT localhost:80", b"TRACE /health"])
async def test_nothing_is_passed_on_and_nothing_echoed(either: Server, start: bytes) -> None:
    answer = await either.say(start + b" HTTP/1.1\r\n", HOST, CLOSED, b"X-Mine: told\r\n\r\n")
    assert statuses(answer)[0] in (400, 404, 405)
    assert b"told" not in answer


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"X-Folded: a\r\n b\r\n",
        b"X-Nul: a\0b\r\n",
        b"Host: evil.example.com\r\n",
        b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    ],
)
async def test_a_request_that_two_machines_could_read_differently_is_refused(server: Server, lines: bytes) -> None:
    answer = await server.say(b"POST /api/v1/agents HTTP/1.1\r\n", HOST, CLOSED, lines, b"\r\n12345")
    assert statuses(answer) == [400]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nConnection: close\r\nHost: evil.example.com\r\n\r\n",
        b"GET http://localhost/health HTTP/1.1\r\nConnection: close\r\nHost: evil.example.com\r\n\r\n",
        b"GET /health HTTP/1.0\r\n\r\n",
    ],
)
async def test_whoever_does_not_name_this_server_is_not_answered(server: Server, request_: bytes) -> None:
    """Abuse 75."""
    assert statuses(await server.say(request_)) == [400]


async def test_a_body_that_drips_is_cut_and_its_connection_closed(server: Server) -> None:
    """Abuse 73."""
    reader, writer = await server.open()
    writer.write(b"POST /api/v1/agents HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n")
    writer.write(b"Content-Length: 1000\r\n\r\n")
    answer = b""
    async with asyncio.timeout(PATIENCE):
        while not answer:
            writer.write(b" ")
            try:
                async with asyncio.timeout(0.05):
                    answer = await reader.read(65_536)
            except TimeoutError:
                continue
    assert statuses(answer) == [408]
    writer.close()


async def test_a_thousand_clients_that_never_finish_their_headers_keep_nobody_out(server: Server) -> None:
    """Abuse 73, in its short form: more of them than the server could have let in at a time by its defaults."""
    waiting = [await server.open() for _ in range(SLOW + 500)]
    for _, writer in waiting:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    async with asyncio.timeout(PATIENCE), httpx2.AsyncClient(base_url=server.url) as http:
        for _ in range(50):
            for _, writer in waiting[::50]:
                writer.write(b"a")
            assert (await http.get("/health", headers={"connection": "close"})).status_code == 200
    for _, writer in waiting:
        writer.close()
