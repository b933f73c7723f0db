"""The one way out reaches the public internet and nothing else (abuse cases 58 to 61)."""

import asyncio
import gzip
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from agent_factory.security import egress as module
from agent_factory.security.egress import (
    Egress,
    EgressBlocked,
    EgressFailed,
    EgressSettings,
    EgressTimeout,
    EgressTooLarge,
)
from tests.security.conftest import Handler, Server

Serve = Callable[..., Awaitable[Server]]


class Names(AbstractResolver):
    """Answers names from a table: each look-up takes the next of its answers, the last one stays."""

    def __init__(self, **table: list[list[str]]) -> None:
        self.table = {name.replace("_", "."): answers for name, answers in table.items()}
        self.asked: list[str] = []

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the table has what it has
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self.table.get(host)
        if not answers:
            raise OSError(f"no such name: {host}")
        chosen = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in chosen
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def client() -> AsyncGenerator[Egress, None]:
    """A client of one's own."""
    made = Egress()
    yield made
    await made.close()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001"),
        *("0", "0.0.0.0", "127.0.0.1.", "127.000.000.001", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),  # noqa: S104 - refused
        *("[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]"),
        *(
            "localhost",
            "LOCALHOST",
            "localhost.",
            "foo.localhost",
            "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
            "\u2460\u2461\u2466.0.0.1",
            "127\u30020\u30020\u30021",
        ),
        *("user@127.0.0.1", "user:pw@127.0.0.1", "example.com@127.0.0.1", "example.com%40127.0.0.1"),
        *("127.0.0.1#@example.com", "127.0.0.1%2F", "127.0.0.1%00", "\t127.0.0.1", "127.0.0.1\\@example.com"),
        *("169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "10.0.0.1", "192.168.0.1"),
        *("0x7f.1", "1.0x7f.1.1", "127.0.0.0x1", "00000000177.0.0.1", "127.0.0.1:80:80", "[::1", "::1"),
    ],
)
async def test_no_spelling_of_an_inside_address_is_reached(host: str, serve: Serve, client: Egress) -> None:
    """Abuse 58."""
    server = await serve()
    name = host if "#" in host or "\\" in host else f"{host}:{server.port}"
    with pytest.raises((EgressBlocked, EgressFailed)):
        await client.request("GET", f"http://{name}/", timeout=5)
    with pytest.raises((EgressBlocked, EgressFailed)):
        await client.request("GET", f"http://{host}/", timeout=5)
    assert server.seen == []


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/", "file:///etc/passwd", "gopher://x/", "//example.com/", "http:///x", "data:,x", "", "x"],
)
async def test_only_whole_http_urls_are_requested(url: str, client: Egress) -> None:
    with pytest.raises(EgressBlocked):
        await client.request("GET", url)


async def test_the_dial_refuses_although_the_url_got_through(
    serve: Serve, client: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()

    def anything_goes(_: str) -> None:
        pass

    monkeypatch.setattr(module, "_check_spelling", anything_goes)
    with pytest.raises(EgressBlocked):
        await client.request("GET", server.url)
    assert server.seen == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1"])
async def test_a_name_of_an_inside_address_is_blocked(address: str, serve: Serve) -> None:
    server = await serve()
    client = Egress(resolver=Names(evil_test=[[address]]))
    with pytest.raises(EgressBlocked):
        await client.request("GET", f"http://evil.test:{server.port}/")
    assert server.seen == []
    await client.close()


async def test_one_inside_address_among_public_ones_blocks_the_name(serve: Serve) -> None:
    """Abuse 60."""
    server = await serve()
    client = Egress(resolver=Names(mixed_test=[["93.184.216.34", "127.0.0.1"]]))
    with pytest.raises(EgressBlocked):
        await client.request("GET", f"http://mixed.test:{server.port}/")
    assert server.seen == []
    await client.close()


async def test_a_name_that_changes_its_address_is_checked_at_each_dial(serve: Serve) -> None:
    """Abuse 60."""
    server = await serve()
    names = Names(rebound_test=[["93.184.216.34"], ["127.0.0.1"]])
    checked = await names.resolve("rebound.test")  # what a check before the request would have seen
    client = Egress(resolver=names)
    with pytest.raises(EgressBlocked):
        await client.request("GET", f"http://rebound.test:{server.port}/")
    assert checked[0]["host"] == "93.184.216.34"
    assert server.seen == []
    await client.close()


async def test_an_unknown_name_is_no_connection() -> None:
    client = Egress(resolver=Names())
    with pytest.raises(EgressFailed):
        await client.request("GET", "http://nowhere.test/")
    await client.close()


async def test_the_operator_opens_one_port_and_no_other(serve: Serve) -> None:
    opened, closed = await serve(), await serve()
    client = Egress(EgressSettings(allow=(opened.authority,)))
    assert (await client.request("GET", opened.url)).text == "reached"
    with pytest.raises(EgressBlocked):
        await client.request("GET", closed.url)
    await client.close()


async def test_trusting_widens_the_copy_alone(serve: Serve, client: Egress) -> None:
    server = await serve()
    assert (await client.trusting(server.authority).request("GET", server.url)).status == 200
    with pytest.raises(EgressBlocked):
        await client.request("GET", server.url)


async def test_a_trusted_name_reaches_its_address_under_that_name_only(serve: Serve) -> None:
    server = await serve()
    names = Names(inner_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    client = Egress(resolver=names).trusting(f"inner.test:{server.port}")
    assert (await client.request("GET", f"http://inner.test:{server.port}/")).status == 200
    with pytest.raises(EgressBlocked):
        await client.request("GET", f"http://other.test:{server.port}/")
    await client.close()


def redirecting(place: str, status: int = 302) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        if request.path == "/end":
            return web.Response(text=request.method)
        return web.Response(status=status, headers={"Location": place})

    return handle


@pytest.mark.parametrize(
    "place",
    [
        *("http://127.0.0.1:{port}/", "http://[::1]:{port}/", "http://2130706433:{port}/", "//127.0.0.1:{port}/"),
        *("http://localhost:{port}/", "file:///etc/passwd", "http://u:p@127.0.0.1:{port}/", "http://metadata.test/"),
    ],
)
async def test_a_redirect_to_the_inside_is_blocked(place: str, serve: Serve) -> None:
    """Abuse 59."""
    inside = await serve()
    outside = await serve(redirecting(place.format(port=inside.port)))
    names = Names(outside_test=[["127.0.0.1"]], metadata_test=[["169.254.169.254"]])
    client = Egress(EgressSettings(allow=(f"outside.test:{outside.port}",)), resolver=names)
    with pytest.raises(EgressBlocked):
        await client.request("GET", f"http://outside.test:{outside.port}/", redirects=5)
    assert inside.seen == []
    await client.close()


async def test_a_redirect_is_not_followed_unless_asked_for(serve: Serve, client: Egress) -> None:
    server = await serve(redirecting("/end"))
    trusting = client.trusting(server.authority)
    answer = await trusting.request("GET", server.url)
    assert (answer.status, answer.headers["location"]) == (302, "/end")
    followed = await trusting.request("GET", server.url, redirects=1)
    assert (followed.text, followed.url) == ("GET", f"{server.url}/end")


async def test_endless_redirects_end(serve: Serve, client: Egress) -> None:
    server = await serve(redirecting("/again"))
    answer = await client.trusting(server.authority).request("GET", server.url, redirects=3)
    assert answer.status == 302
    assert len(server.seen) == 4


@pytest.mark.parametrize(("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
async def test_redirects_keep_or_change_the_method_as_the_standard_says(
    status: int, method: str, serve: Serve, client: Egress
) -> None:
    server = await serve(redirecting("/end", status))
    answer = await client.trusting(server.authority).request("POST", server.url, json={"a": 1}, redirects=1)
    assert answer.text == method
    assert server.bodies[1] == (b'{"a":1}' if method == "POST" else b"")


async def test_no_credential_follows_to_another_origin(serve: Serve, client: Egress) -> None:
    other = await serve()
    first = await serve(redirecting(f"{other.url}/end"))
    secret = {"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "Cookie": "a=s3cret", "Accept": "text/plain"}
    trusting = client.trusting(first.authority, other.authority)
    await trusting.request("GET", first.url, headers=secret, redirects=1)
    assert first.seen[0].headers["X-Api-Key"] == "s3cret"
    assert "s3cret" not in str(other.seen[0].headers)
    assert other.seen[0].headers["Accept"] == "text/plain"


async def test_credentials_stay_within_the_origin(serve: Serve, client: Egress) -> None:
    server = await serve(redirecting("/end"))
    await client.trusting(server.authority).request("GET", server.url, headers={"X-Api-Key": "k"}, redirects=1)
    assert [r.headers["X-Api-Key"] for r in server.seen] == ["k", "k"]


async def test_cookies_are_not_kept(serve: Serve, client: Egress) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(headers={"Set-Cookie": "tenant=a; Path=/"})

    server = await serve(handle)
    trusting = client.trusting(server.authority)
    await trusting.request("GET", server.url)
    await trusting.request("GET", server.url)
    assert "Cookie" not in server.seen[1].headers


async def test_the_environments_proxy_is_ignored(serve: Serve, client: Egress, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = await serve(), await serve()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    await client.trusting(server.authority).request("GET", server.url)
    assert proxy.seen == []
    assert len(server.seen) == 1


async def test_a_compressed_answer_is_refused_unread(serve: Serve, client: Egress) -> None:
    async def bomb(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=gzip.compress(b"0" * 1_000_000), headers={"Content-Encoding": "gzip"})

    server = await serve(bomb)
    with pytest.raises(EgressFailed, match="compressed"):
        await client.trusting(server.authority).request("GET", server.url)


async def test_an_announced_size_beyond_the_cap_is_refused_at_once(serve: Serve, client: Egress) -> None:
    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"0" * 2000)

    server = await serve(large)
    with pytest.raises(EgressTooLarge):
        await client.trusting(server.authority).request("GET", server.url, max_bytes=1999)


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"0" * 10_000)


async def test_an_endless_answer_is_cut_at_the_cap(serve: Serve, client: Egress) -> None:
    server = await serve(endless)
    with pytest.raises(EgressTooLarge):
        await client.trusting(server.authority).request("GET", server.url, max_bytes=100_000)


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b".")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("redirects", [0, 2])
async def test_a_dripping_answer_is_cut_at_the_deadline(redirects: int, serve: Serve, client: Egress) -> None:
    server = await serve(drip)
    with pytest.raises(EgressTimeout):
        await client.trusting(server.authority).request("GET", server.url, timeout=0.3, redirects=redirects)


async def test_redirects_share_one_deadline(serve: Serve, client: Egress) -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response(status=302, headers={"Location": "/more"})

    server = await serve(slow)
    with pytest.raises(EgressTimeout):
        await client.trusting(server.authority).request("GET", server.url, timeout=0.35, redirects=100)


async def test_a_stream_gives_what_has_come_and_ends_at_its_deadline(serve: Serve, client: Egress) -> None:
    server = await serve(drip)
    got: list[bytes] = []

    async def listen() -> None:
        async with client.trusting(server.authority).stream("GET", server.url, timeout=0.3) as answer:
            async for chunk in answer.chunks():
                got.append(chunk)  # noqa: PERF401 - what came before the end is wanted

    with pytest.raises(EgressTimeout):
        await listen()
    assert got[0].startswith(b".")


async def test_a_connection_that_breaks_off_is_a_failure(client: Egress) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(EgressFailed):
            await client.trusting(f"127.0.0.1:{port}").request("GET", f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", b""])
async def test_what_is_no_http_is_a_failure(answer: bytes, client: Egress) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(EgressFailed):
            await client.trusting(f"127.0.0.1:{port}").request("GET", f"http://127.0.0.1:{port}/", timeout=5)


async def test_nobody_listening_is_a_failure(client: Egress) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(EgressFailed, match="No connection"):
            await client.trusting(f"127.0.0.1:{port}").request("GET", f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("headers", [{"X": "a\r\nInjected: 1"}, {"X\r\nInjected": "1"}, {"X": "a\0"}])
async def test_headers_that_would_split_the_request_are_refused(
    headers: dict[str, str], serve: Serve, client: Egress
) -> None:
    server = await serve()
    with pytest.raises(EgressBlocked):
        await client.trusting(server.authority).request("GET", server.url, headers=headers)
    assert server.seen == []


async def test_leaving_a_stream_early_closes_its_connection(serve: Serve, client: Egress) -> None:
    left = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await endless(request)
        finally:
            left.set()

    server = await serve(handle)
    async with client.trusting(server.authority).stream("GET", server.url) as answer:
        async for _ in answer.chunks():
            break
    await asyncio.wait_for(left.wait(), 5)


async def test_a_cancelled_request_closes_its_connection(serve: Serve, client: Egress) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return web.Response()

    server = await serve(hang)
    task = asyncio.create_task(client.trusting(server.authority).request("GET", server.url))
    await arrived.wait()
    task.cancel()
    await asyncio.wait_for(left.wait(), 5)
    assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_connections_are_used_again(serve: Serve, client: Egress) -> None:
    peers: set[object] = set()

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(text="x")

    server = await serve(handle)
    trusting = client.trusting(server.authority)
    for _ in range(3):
        await trusting.request("GET", server.url)
        async with trusting.stream("GET", server.url) as answer:
            assert await answer.read() == b"x"
    assert len(peers) == 1


async def test_parameters_bodies_and_answers_are_what_they_say(serve: Serve, client: Egress) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"query": request.query_string, "type": request.content_type})

    server = await serve(echo)
    trusting = client.trusting(server.authority)
    answer = await trusting.request("PUT", f"{server.url}/p?a=1", params={"b": "ä c"}, json=[1])
    assert answer.json() == {"query": "a=1&b=ä c", "type": "application/json"}
    assert answer.headers["content-type"].startswith("application/json")


async def test_text_follows_its_charset_and_broken_json_is_a_failure(serve: Serve, client: Egress) -> None:
    async def latin(_: web.Request) -> web.Response:
        return web.Response(body="ä".encode("latin-1"), headers={"Content-Type": "text/plain; charset=iso-8859-1"})

    server = await serve(latin)
    answer = await client.trusting(server.authority).request("GET", server.url)
    assert answer.text == "ä"
    with pytest.raises(EgressFailed):
        answer.json()


def test_one_client_serves_several_event_loops() -> None:
    client = Egress()

    async def once() -> str:
        app = web.Application()

        async def handle(_: web.Request) -> web.Response:
            return web.Response(text="ok")

        app.router.add_get("/", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        answer = await client.trusting(f"127.0.0.1:{port}").request("GET", f"http://127.0.0.1:{port}/")
        await client.close()
        await runner.cleanup()
        return answer.text

    assert [asyncio.run(once()), asyncio.run(once())] == ["ok", "ok"]
