"""What a request has to be before anybody looks at what it wants (S16, S24, S25, S201)."""

import asyncio
import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_factory.api.admission import Gate, Overloaded
from agent_factory.api.middleware import BodyGuard, Entrance
from agent_factory.api.proxies import Proxies
from agent_factory.api.settings import ServerSettings
from agent_factory.api.sse import EventStream
from agent_factory.database.models import UserRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.monitoring.metrics import Metrics
from agent_factory.security.auth import Actor
from agent_factory.security.rate_limit import LimitsSettings
from agent_factory.services.organizations.service import bootstrap
from tests.serving import Client, Sign, opened, served, settings_for

JSON = {"content-type": "application/json"}
EVERYWHERE = "0.0.0.0"  # noqa: S104 - names it, and binds nothing
PAGE = "https://app.example.com"


async def told(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what the application gets to know."""
    while (await receive()).get("more_body"):
        pass
    body = json.dumps({"address": scope["state"]["address"], "scheme": scope["scheme"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


def entrance(app: ASGIApp, **settings: Any) -> Entrance:
    chosen = ServerSettings(**settings)
    guarded = BodyGuard(app, max_body=chosen.max_body, body_timeout=chosen.body_timeout)
    return Entrance(guarded, settings=chosen, metrics=Metrics(), log_requests=False)


def reach(app: ASGIApp, client: tuple[str, int] = ("127.0.0.1", 5000)) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app, client=client), base_url="http://localhost")


async def raw(app: ASGIApp, headers: list[tuple[bytes, bytes]], **scope: Any) -> tuple[int, dict[str, Any]]:
    """Send a request with exactly these headers, which no client would write."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    whole = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 5000),
        "scheme": "http",
        **scope,
    }
    await app(whole, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


# Hosts


async def test_a_server_of_the_loopback_answers_to_the_names_of_the_loopback_alone() -> None:
    """Abuse 75; a page whose name leads here by rebinding sends its own name."""
    http = reach(entrance(told))
    for name in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST:8080", "[::1]:8080", "127.0.0.1:1"):
        assert (await http.get("/", headers={"host": name})).status_code == 200
    for name in ("evil.example.com", "localhost.evil.example.com", "127.0.0.2", "[::2]", "localhost."):
        assert (await http.get("/", headers={"host": name})).status_code == 400


@pytest.mark.parametrize(
    "host",
    ["localhost:80@evil.example.com", "localhost:", "localhost:80:80", "localhost:x", "localhost/x", "localhost?",
     "a b", "localhost:80, evil.example.com", "http://localhost", "user@localhost", "::1", "[::1", "[::1]x",
     "x" * 300, "ł.example"],
)  # fmt: skip
@pytest.mark.parametrize("hosts", [(), ("*",), ("localhost",)])
async def test_what_is_no_host_is_refused_although_any_is_answered_to(hosts: tuple[str, ...], host: str) -> None:
    """Whoever builds a link from it would build one to elsewhere."""
    assert (await raw(entrance(told, hosts=hosts), [(b"host", host.encode())]))[0] == 400


async def test_a_server_of_the_network_answers_to_any_name_until_it_is_told_its_own() -> None:
    assert (await reach(entrance(told, host=EVERYWHERE)).get("/", headers={"host": "a.example"})).status_code == 200
    named = reach(entrance(told, host=EVERYWHERE, hosts=("a.example",)))
    assert (await named.get("/", headers={"host": "b.example"})).status_code == 400
    anything = reach(entrance(told, hosts=("*",)))
    assert (await anything.get("/", headers={"host": "b.example"})).status_code == 200


@pytest.mark.parametrize("hosts", [(), ("*",), ("localhost",)])
async def test_a_request_without_a_host_or_with_two_is_refused(hosts: tuple[str, ...]) -> None:
    app = entrance(told, hosts=hosts)
    for headers in ([], [(b"host", b"")], [(b"host", b"localhost"), (b"host", b"evil.example.com")]):
        assert (await raw(app, headers))[0] == 400


@pytest.mark.parametrize("host", ["https://a.example", "a.example:80", "", "a/b"])
def test_what_is_no_host_is_no_setting(host: str) -> None:
    with pytest.raises(ValidationError):
        ServerSettings(hosts=(host,))


# Headers


async def test_headers_have_a_number_and_a_size() -> None:
    """Abuse 11, for whatever the server itself lets through."""
    http = reach(entrance(told, max_headers=20, max_header_bytes=2000))
    assert (await http.get("/", headers={f"x-{n}": "1" for n in range(10)})).status_code == 200
    many = await http.get("/", headers={f"x-{n}": "1" for n in range(30)})
    large = await http.get("/", headers={"authorization": "a" * 2000})
    assert [many.status_code, large.status_code] == [400, 400]
    assert many.json()["code"] == large.json()["code"] == "headers_too_large"


@pytest.mark.parametrize(
    "name", [b"authorization", b"content-length", b"content-type", b"origin", b"transfer-encoding"]
)
async def test_a_header_that_means_something_only_once_comes_once(name: bytes) -> None:
    status, answer = await raw(entrance(told), [(b"host", b"localhost"), (name, b"1"), (name, b"2")])
    assert status == 400
    assert name.decode() in answer["detail"]


async def test_a_request_that_says_its_length_in_two_ways_is_refused() -> None:
    headers = [(b"host", b"localhost"), (b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    assert (await raw(entrance(told), headers, method="POST"))[0] == 400


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity", b"chunked, chunked", b"x", b""])
async def test_a_body_is_cut_in_chunks_or_comes_whole(coding: bytes) -> None:
    headers = [(b"host", b"localhost"), (b"transfer-encoding", coding)]
    assert (await raw(entrance(told), headers, method="POST"))[0] == 400
    assert (await raw(entrance(told), [*headers[:1], (b"transfer-encoding", b"Chunked")], method="POST"))[0] == 200


async def test_the_connection_of_a_request_in_chunks_ends_with_its_answer_whatever_that_is() -> None:
    chunked = {"transfer-encoding": "chunked"}
    http = reach(entrance(told))
    good = await http.post("/", headers=chunked)
    refused = await http.post("/", headers={**chunked, "origin": "https://evil.example.com"})
    late = await reach(entrance(Door(), request_timeout=0.01)).get("/wait", headers=chunked)
    assert [a.status_code for a in (good, refused, late)] == [200, 403, 504]
    assert {a.headers.get("connection") for a in (good, refused, late)} == {"close"}
    assert "connection" not in (await http.post("/", content=b"{}", headers=JSON)).headers


async def test_a_server_that_speaks_websocket_is_told_that_we_do_not() -> None:
    """They would pass by all that is checked of a request."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def reached(*_: Any) -> None:
        pytest.fail("it came in")

    await entrance(reached)({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_browsers_are_told_to_stay_with_https_where_it_is_spoken() -> None:
    assert "strict-transport-security" not in (await reach(entrance(told)).get("/")).headers
    answer = await reach(entrance(told, hsts=31_536_000)).get("/")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_a_page_may_use_its_own_style_and_nothing_else(anyone: Client) -> None:
    for path in ("/", "/docs"):
        answer = await anyone.get(path)
        policy = answer.headers["content-security-policy"]
        style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
        assert style
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script|\sstyle=|\son\w+=", answer.text)


# Addresses


@pytest.mark.parametrize(
    ("client", "headers", "address"),
    [
        ("198.51.100.7", {"x-forwarded-for": "203.0.113.9"}, "198.51.100.7"),
        ("10.0.0.1", {}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "203.0.113.9"}, "203.0.113.9"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4, 203.0.113.9"}, "203.0.113.9"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"),
        ("10.0.0.1", {"x-forwarded-for": "10.0.0.3, 10.0.0.2"}, "10.0.0.3"),
        ("10.0.0.1", {"x-forwarded-for": "203.0.113.9, nonsense"}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "nonsense, 10.0.0.2"}, "10.0.0.2"),
        ("10.0.0.1", {"x-forwarded-for": "203.0.113.9:4711"}, "203.0.113.9"),
        ("10.0.0.1", {"x-forwarded-for": "2001:db8::7"}, "2001:db8::7"),
        ("::ffff:10.0.0.1", {"x-forwarded-for": "203.0.113.9"}, "203.0.113.9"),
        ("10.0.0.1", {"x-forwarded-for": "203.0.113.9, [2001:db8::7]:4711"}, "2001:db8::7"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4, ::ffff:203.0.113.9, ::ffff:10.0.0.2"}, "::ffff:203.0.113.9"),
        ("10.0.0.1", {"x-forwarded-for": ""}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "203.0.113.9,"}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "203.0.113.9, 0x7f.1"}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": "for=1.2.3.4", "x-forwarded-for": "203.0.113.9"}, "203.0.113.9"),
        ("10.0.0.1", {"forwarded": "for=1.2.3.4"}, "10.0.0.1"),
        ("10.0.0.1", {"x-real-ip": "1.2.3.4", "client-ip": "1.2.3.4", "cf-connecting-ip": "1.2.3.4"}, "10.0.0.1"),
    ],
)
async def test_only_the_operators_proxies_say_who_asks(client: str, headers: dict[str, str], address: str) -> None:
    """Abuse 75: whoever stands before the last machine that is not ours could be anybody's invention.

    So could be whatever the proxies do not write themselves, but pass on.
    """
    http = reach(entrance(told, proxies=("10.0.0.0/8",)), (client, 5000))
    assert (await http.get("/", headers=headers)).json()["address"] == address


@pytest.mark.parametrize(
    ("client", "headers", "address"),
    [
        ("198.51.100.7", {"forwarded": "for=203.0.113.9"}, "198.51.100.7"),
        ("10.0.0.1", {"forwarded": 'for=1.2.3.4, for="[2001:db8::7]:4711";proto=https'}, "2001:db8::7"),
        ("10.0.0.1", {"forwarded": "proto=https;for=203.0.113.9, for=10.0.0.2"}, "203.0.113.9"),
        ("10.0.0.1", {"forwarded": 'For="203.0.113.9:4711";by=10.0.0.1'}, "203.0.113.9"),
        ("10.0.0.1", {"forwarded": "for=203.0.113.9, for=unknown"}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": "for=203.0.113.9, for=_hidden"}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": 'for="1.2.3.4, for=203.0.113.9'}, "203.0.113.9"),
        ("10.0.0.1", {"forwarded": 'host="for=1.2.3.4";x="a, for=203.0.113.9'}, "203.0.113.9"),
        ("10.0.0.1", {"forwarded": "for=203.0.113.9", "x-forwarded-for": "1.2.3.4"}, "203.0.113.9"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4"}, "10.0.0.1"),
    ],
)
async def test_proxies_that_write_the_standards_header_are_believed_by_that_alone(
    client: str, headers: dict[str, str], address: str
) -> None:
    http = reach(entrance(told, proxies=("10.0.0.0/8",), proxy_header="forwarded"), (client, 5000))
    assert (await http.get("/", headers=headers)).json()["address"] == address


async def test_two_lines_of_forwarded_addresses_are_one_list() -> None:
    lines = [(b"x-forwarded-for", b"1.2.3.4, 203.0.113.9"), (b"x-forwarded-for", b"10.0.0.2")]
    assert Proxies(("10.0.0.0/8",)).address({"client": ("10.0.0.1", 1), "headers": lines}) == "203.0.113.9"


async def test_without_proxies_nobody_is_believed() -> None:
    answer = await reach(entrance(told)).get("/", headers={"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https"})
    assert answer.json() == {"address": "127.0.0.1", "scheme": "http"}


async def test_a_proxy_says_that_the_client_spoke_https() -> None:
    http = reach(entrance(told, proxies=("127.0.0.0/8",)))
    assert (await http.get("/", headers={"x-forwarded-proto": "https"})).json()["scheme"] == "https"
    for said in ("gopher", "https, http", "", "https,"):
        assert (await http.get("/", headers={"x-forwarded-proto": said})).json()["scheme"] == "http"


# Pages of other sites


FOREIGN: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example.com"},
    {"origin": "null"},
    {"origin": "http://localhost:8081"},
    {"origin": "http://localhost.evil.example.com"},
    {"sec-fetch-site": "cross-site", "origin": "http://localhost"},
    {"sec-fetch-site": "cross-site", "authorization": "Bearer x", "cookie": "session=1"},
    {"origin": "https://evil.example.com", "authorization": "Bearer x", "cookie": "session=1"},
]
OWN: list[dict[str, str]] = [
    {},
    {"sec-fetch-site": "same-origin", "origin": "http://localhost"},
    {"sec-fetch-site": "none"},
    {"origin": "http://localhost"},
    {"cookie": "session=1"},
    {"origin": "https://evil.example.com", "sec-fetch-site": "cross-site", "authorization": "Bearer x"},
]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "FROB"])
@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_page_of_another_site_changes_nothing(method: str, headers: dict[str, str]) -> None:
    answer = await reach(entrance(told)).request(method, "/", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["code"] == "cross_origin_refused"


@pytest.mark.parametrize("headers", OWN)
async def test_pages_of_this_server_and_programs_change_things_as_ever(headers: dict[str, str]) -> None:
    assert (await reach(entrance(told)).post("/", headers=headers)).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_page_of_another_site_may_link_here(headers: dict[str, str]) -> None:
    assert (await reach(entrance(told)).get("/", headers=headers)).status_code == 200


# Bodies and deadlines


async def test_a_body_that_drips_is_cut() -> None:
    """Abuse 73: each byte comes in time, the whole does not."""
    arrived = 0

    async def dripping() -> AsyncGenerator[bytes, None]:
        nonlocal arrived
        while True:
            arrived += 1
            yield b" "
            await asyncio.sleep(0.005)

    http = reach(entrance(told, body_timeout=0.1))
    answer = await http.post("/", content=dripping(), headers=JSON)
    assert answer.status_code == 408
    assert answer.json()["code"] == "body_too_slow"
    assert arrived > 1


async def test_a_body_of_which_nothing_comes_is_cut() -> None:
    async def silent() -> AsyncGenerator[bytes, None]:
        await asyncio.Event().wait()
        yield b""

    assert (await reach(entrance(told, body_timeout=0.05)).post("/", content=silent(), headers=JSON)).status_code == 408


# Too much to do


class Door:
    """An application whose requests wait until they are let go."""

    def __init__(self) -> None:
        self.waiting = 0
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith("/wait"):
            await told(scope, receive, send)
            return
        self.waiting += 1
        await self.go.wait()
        await told(scope, receive, send)


async def test_more_requests_than_can_be_worked_on_are_sent_away_but_probes_are_not() -> None:
    door = Door()
    http = reach(entrance(door, max_in_flight=3))
    inside = [asyncio.create_task(http.get("/wait")) for _ in range(3)]
    async with asyncio.timeout(5):
        while door.waiting < 3:  # noqa: ASYNC110 - what comes in by way of a client sets no event
            await asyncio.sleep(0)
    away = await http.get("/other")
    assert away.status_code == 503
    assert away.json()["code"] == "overloaded"
    assert int(away.headers["retry-after"]) >= 1
    assert [(await http.get(path)).status_code for path in ("/health", "/ready")] == [200, 200]
    assert (await http.post("/health", content=b"{}", headers=JSON)).status_code == 503  # no probe is one
    door.go.set()
    assert [(await task).status_code for task in inside] == [200, 200, 200]
    assert (await http.get("/other")).status_code == 200


async def test_requests_that_fail_or_are_given_up_leave_their_places() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/wait":
            await asyncio.Event().wait()
        raise ZeroDivisionError

    app = entrance(failing, max_in_flight=1)
    http = reach(app)
    for _ in range(3):
        assert (await http.get("/")).status_code == 500
    waiting = asyncio.create_task(http.get("/wait"))
    async with asyncio.timeout(5):
        while not app.gate.inside:  # noqa: ASYNC110 - a gate has no event
            await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert app.gate.inside == 0


async def test_a_stream_takes_no_place_among_those_that_are_worked_on() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        begun.set()
        await go.wait()

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await (EventStream(source()) if scope["path"] == "/stream" else told)(scope, receive, send)

    app = entrance(streaming, max_in_flight=1)
    http = reach(app)
    stream = asyncio.create_task(http.get("/stream"))
    await begun.wait()
    assert (await http.get("/")).status_code == 200
    go.set()
    assert (await stream).status_code == 200
    assert app.gate.inside == 0


async def test_who_does_not_take_a_piece_of_a_stream_is_left_and_who_takes_long_over_the_whole_is_not() -> None:
    """A stream has no end, but each piece of it has a deadline; a pause of the source is nobody's fault."""
    left = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(6):
                yield b"data: 1\n\n"
                await asyncio.sleep(0.05)
            yield b"data: stuck\n\n"
            await asyncio.Event().wait()
        finally:
            left.set()

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await EventStream(source())(scope, receive, send)

    taken: list[bytes] = []

    async def receive() -> Message:
        return await asyncio.Event().wait() and {}

    async def send(message: Message) -> None:
        if b"stuck" in message.get("body", b""):
            await asyncio.Event().wait()
        taken.append(message.get("body", b""))

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [(b"host", b"localhost")]}
    scope |= {"client": ("127.0.0.1", 5000), "scheme": "http"}
    app = entrance(streaming, stream_timeout=0.2, request_timeout=0.1)
    async with asyncio.timeout(5):
        await app(scope, receive, send)
    assert b"".join(taken).count(b"data: 1") == 6
    assert left.is_set()


async def test_a_process_that_is_late_all_the_time_sends_requests_away_and_one_pause_does_not_matter() -> None:
    gate = Gate(10, max_lag=0.5)
    for lag in (0.0, 9.0, 9.0, 9.0):
        gate._lags.append(lag)
    gate.enter()
    gate._lags.append(9.0)
    with pytest.raises(Overloaded, match="late"):
        gate.enter()
    gate._lags.append(0.1)
    gate.enter()


async def test_a_process_that_was_stopped_while_nobody_was_there_is_not_late() -> None:
    gate = Gate(10, max_lag=0.01)
    for _ in range(6):
        gate.enter()
        gate.leave()
        gate._due -= 60
        assert gate._timer is not None
        gate._timer.cancel()
        gate._look(asyncio.get_running_loop())
    gate.enter()
    gate._due -= 60
    gate._look(asyncio.get_running_loop())
    assert gate._lags[-1] > 50
    assert gate._timer is not None
    gate._timer.cancel()


# Limits at the door


def from_anywhere(app: ASGIApp, key: str = "") -> httpx2.AsyncClient:
    """A client at an address that nobody had before, for the counters are the database's."""
    address = f"2001:db8:{secrets.randbits(16):x}:{secrets.randbits(16):x}::1"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx2.ASGITransport(app=app, client=(address, 5000))
    return httpx2.AsyncClient(transport=transport, base_url="http://testserver", headers=headers)


@asynccontextmanager
async def limited(database_url: str, **limits: Any) -> AsyncGenerator[FastAPI, None]:
    """An application with limits; without a worker, over the shared database."""
    async with opened(settings_for(database_url, limits=LimitsSettings.model_validate(limits))) as app:
        yield app


async def test_who_asks_too_often_is_told_when_to_come_back(database_url: str, client: Client) -> None:
    """S20, S191: 429 with Retry-After and the fields of draft-ietf-httpapi-ratelimit-headers."""
    async with (
        limited(database_url, address="", key="", endpoint="3/hour") as app,
        from_anywhere(app, client.key) as http,
    ):
        answers = [await http.get("/api/v1/sessions") for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert [a.headers["ratelimit"].partition(";t=")[0] for a in answers[:3]] == [
        f'"endpoint-hour";r={left}' for left in (2, 1, 0)
    ]
    last = answers[-1]
    assert (
        last.headers["ratelimit-policy"]
        == '"user-minute";q=100;w=60,"user-hour";q=1000;w=3600,"endpoint-hour";q=3;w=3600'
    )
    assert last.headers["ratelimit"].startswith('"endpoint-hour";r=0;t=')
    assert 1100 < int(last.headers["retry-after"]) <= 1200
    problem = last.json()
    assert problem["code"] == "rate_limit_exceeded"
    assert problem["status"] == 429


async def test_under_v1_a_refusal_has_openais_shape(database_url: str, client: Client) -> None:
    async with limited(database_url, endpoint="1/hour") as app, from_anywhere(app, client.key) as http:
        await http.get("/v1/models")
        answer = await http.get("/v1/models")
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    assert answer.headers["retry-after"]


async def test_keys_that_are_no_good_count_against_their_address(database_url: str, client: Client) -> None:
    async with limited(database_url, address="3/hour") as app, from_anywhere(app, "af_wrong_0123456789") as http:
        answers = [await http.get("/api/v1/agents") for _ in range(5)]
        assert [a.status_code for a in answers] == [401, 401, 401, 429, 429]
        http.headers["authorization"] = f"Bearer {client.key}"
        assert (await http.get("/api/v1/agents")).status_code == 429


async def test_an_address_that_is_turned_away_has_its_body_left_unread(database_url: str) -> None:
    read = 0

    async def body() -> AsyncGenerator[bytes, None]:
        nonlocal read
        read += 1
        yield b"{}"

    async with limited(database_url, address="2/hour") as app, from_anywhere(app, "af_wrong_0123456789") as http:
        for path in ("/api/v1/agents", "/v1/chat/completions"):
            assert (await http.post(path, content=body(), headers=JSON)).status_code == 401
        assert read == 2
        # the third finds the limit used up, the fourth is of one that is known for it
        assert (await http.get("/api/v1/agents")).status_code == 429
        for path in ("/api/v1/agents", "/v1/chat/completions", "/mcp", "/webhook/x", "/nothing"):
            answer = await http.post(path, content=body(), headers=JSON)
            assert answer.status_code == 429
            assert answer.headers["retry-after"]
        assert read == 2


@pytest.mark.parametrize(
    ("method", "path", "content", "media", "status"),
    [
        ("GET", "/nothing", None, None, 404),
        ("POST", "/nothing", b"{}", "application/json", 404),
        ("DELETE", "/docs", None, None, 405),
        ("POST", "/api/v1/agents", b"{", "application/json", 400),
        ("POST", "/api/v1/agents", b"{}", "text/plain", 415),
        ("POST", "/v1/chat/completions", b" " * 2_000_000, "application/json", 413),
        ("POST", "/health", b"{}", "application/json", 405),
    ],
)
async def test_what_comes_to_no_route_counts_against_its_address(
    database_url: str, method: str, path: str, content: bytes | None, media: str | None, status: int
) -> None:
    """Nobody else counts it, and somebody has to read it."""
    headers = {"content-type": media} if media else {}
    async with limited(database_url, address="2/hour") as app, from_anywhere(app) as http:
        answers = [await http.request(method, path, content=content, headers=headers) for _ in range(4)]
    assert [a.status_code for a in answers] == [status, status, 429, 429]
    assert all(a.headers["retry-after"] for a in answers[2:])


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/", "/metrics", "/webhook/nothing-here"])
async def test_what_is_open_to_all_is_limited_by_address(database_url: str, path: str) -> None:
    async with limited(database_url, address="2/hour") as app, from_anywhere(app) as http:
        answers = [(await http.get(path)).status_code for _ in range(4)]
    assert answers[2:] == [429, 429]
    assert 429 not in answers[:2]


async def test_an_invented_address_has_no_limit_of_its_own(database_url: str) -> None:
    """Abuse 75."""
    async with limited(database_url, address="2/hour") as app, from_anywhere(app) as http:
        invented = [{"x-forwarded-for": f"192.0.2.{n}", "forwarded": f"for=192.0.2.{n}"} for n in range(4)]
        answers = [(await http.get("/openapi.json", headers=headers)).status_code for headers in invented]
    assert answers == [200, 200, 429, 429]


async def test_probes_are_never_limited(database_url: str) -> None:
    async with limited(database_url, address="1/hour") as app, from_anywhere(app) as http:
        assert {(await http.get(path)).status_code for path in ("/health", "/ready") for _ in range(5)} == {200}


@pytest.mark.timeout(180)
async def test_800_requests_at_once_to_two_servers_are_100_answers(fresh_database_url: str, tmp_path: Path) -> None:
    """Abuse 69: exactly 100 and what flows back meanwhile; the others are told when to come back."""
    database = Database(fresh_database_url)
    founded = await bootstrap(database)
    await database.close()
    assert founded is not None
    environment = {
        "AF_DATABASE__URL": fresh_database_url,
        "AF_DATABASE__DATA_DIR": str(tmp_path),
        "AF_LOGGING__LEVEL": "error",
        "AF_LIMITS__ENABLED": "true",
        "AF_QUEUE__WORKER": "false",
    }
    async with served(environment) as one, served(environment) as other:
        answers, seconds = await _all_at_once([one, other], founded.secret, 400)
    admitted = [a for a in answers if a.status_code == 200]
    refused = [a for a in answers if a.status_code == 429]
    assert len(admitted) + len(refused) == 800
    assert 100 <= len(admitted) <= 100 + seconds * 100 / 60 + 1
    assert all(int(a.headers["retry-after"]) >= 1 for a in refused)


async def _all_at_once(roots: list[str], key: str, each: int) -> tuple[list[httpx2.Response], float]:
    limits = httpx2.Limits(max_connections=each)
    headers = {"authorization": f"Bearer {key}"}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx2.AsyncClient(base_url=root, headers=headers, limits=limits, timeout=60)
            )
            for root in roots
        ]
        began = time.monotonic()
        answers = await asyncio.gather(*(c.get("/api/v1/agents") for _ in range(each) for c in clients))
        return answers, time.monotonic() - began


# CORS


Allow = Callable[[Client, list[str]], Awaitable[Any]]


async def allow(client: Client, origins: list[str]) -> httpx2.Response:
    organization = (await client.get("/api/v1/auth/me")).json()["organization_id"]
    return await client.put(f"/api/v1/organizations/{organization}/cors", json={"origins": origins})


@pytest.fixture
async def fresh(app: FastAPI) -> None:
    """Origins that no earlier test has asked for are not known yet."""
    app.state.origins._known.clear()


@pytest.mark.usefixtures("fresh")
async def test_a_page_reads_what_its_own_organisation_lets_it_read(client: Client, stranger: Client) -> None:
    """S24: by the organisation of the caller, never for all, never with cookies."""
    assert (await allow(client, [PAGE])).json() == {"origins": [PAGE]}
    mine = (await client.get("/api/v1/agents", headers={"origin": PAGE})).headers
    assert mine["access-control-allow-origin"] == PAGE
    assert "Origin" in mine["vary"]
    assert "retry-after" in mine["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in mine
    theirs = (await stranger.get("/api/v1/agents", headers={"origin": PAGE})).headers
    others = (await client.get("/api/v1/agents", headers={"origin": "https://other.example.com"})).headers
    for headers in (theirs, others):
        assert not [name for name in headers if name.startswith("access-control")]
        assert "Origin" in headers["vary"]


@pytest.mark.usefixtures("fresh")
async def test_an_error_is_read_like_any_answer_and_a_stranger_reads_nothing(client: Client, anyone: Client) -> None:
    await allow(client, [PAGE])
    missing = await client.get("/api/v1/agents/agt_nothing", headers={"origin": PAGE})
    assert missing.status_code == 404
    assert missing.headers["access-control-allow-origin"] == PAGE
    unknown = await anyone.get("/api/v1/agents", headers={"origin": PAGE})
    assert unknown.status_code == 401
    assert "access-control-allow-origin" not in unknown.headers


def preflight(origin: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {"origin": origin, "access-control-request-method": "POST", **(more or {})}


@pytest.mark.usefixtures("fresh")
async def test_a_preflight_needs_no_credentials_but_an_origin_that_somebody_allows(
    client: Client, anyone: Client
) -> None:
    await allow(client, ["https://preflight.example.com"])
    asked = {"access-control-request-headers": "authorization,x-stainless-os"}
    good = await anyone.options("/api/v1/agents", headers=preflight("https://preflight.example.com", asked))
    assert good.status_code == 204
    assert good.headers["access-control-allow-origin"] == "https://preflight.example.com"
    assert good.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert "PATCH" in good.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in good.headers
    for origin in ("https://evil.example.com", "null", "*", "https://preflight.example.com.evil.org", "x" * 5000):
        bad = await anyone.options("/api/v1/agents", headers=preflight(origin))
        assert bad.status_code == 403
        assert "access-control-allow-origin" not in bad.headers
    assert (await anyone.options("/", headers={"access-control-request-method": "GET"})).status_code == 403


async def test_preflights_are_limited_by_address(database_url: str) -> None:
    async with limited(database_url, address="2/hour") as app, from_anywhere(app) as http:
        answers = [await http.options("/", headers=preflight(f"https://{n}.example.com")) for n in range(4)]
    assert [a.status_code for a in answers] == [403, 403, 429, 429]


@pytest.mark.usefixtures("fresh")
async def test_an_origin_that_is_taken_away_is_no_longer_allowed(app: FastAPI, client: Client) -> None:
    await allow(client, [PAGE, "https://second.example.com"])
    assert (await allow(client, ["https://second.example.com"])).json() == {"origins": ["https://second.example.com"]}
    app.state.origins._known.clear()
    assert "access-control-allow-origin" not in (await client.get("/api/v1/agents", headers={"origin": PAGE})).headers


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.com:443", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
async def test_an_origin_is_kept_as_browsers_send_it(client: Client, text: str, kept: str) -> None:
    assert (await allow(client, [text])).json() == {"origins": [kept]}


@pytest.mark.parametrize(
    "text",
    ["*", "null", "https://*.example.com", "http://app.example.com", "https://a.example/path", "https://", "ftp://a.b",
     "https://user@a.example", "app.example.com", "https://a.example:99999999", "https://a.example/"],
)  # fmt: skip
async def test_what_is_no_origin_or_too_many_is_refused(client: Client, text: str) -> None:
    answer = await allow(client, ["https://fine.example.com", text])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/origins/1"


async def test_origins_are_the_owners_to_choose(
    client: Client, sign: Sign, database: Database, stranger: Client
) -> None:
    organization = (await client.get("/api/v1/auth/me")).json()["organization_id"]
    path = f"/api/v1/organizations/{organization}/cors"
    await allow(client, [PAGE])
    assert (await client.get(path)).json() == {"origins": [PAGE]}
    for answer in (await stranger.get(path), await stranger.put(path, json={"origins": []})):
        assert answer.status_code == 404
    developer = uuid7()
    async with database.system() as session:
        session.add(
            UserRow(
                id=developer,
                organization_id=client.actor.organization_id,
                email="developer@example.com",
                name="Developer",
                role="developer",
            )
        )
    theirs = await sign(Actor(organization_id=client.actor.organization_id, user_id=developer, role="developer"))
    for answer in (await theirs.get(path), await theirs.put(path, json={"origins": []})):
        assert answer.status_code == 403
    assert (await client.get(path)).json() == {"origins": [PAGE]}
