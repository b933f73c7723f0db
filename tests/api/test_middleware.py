"""What every request passes: ids, limits, headers, and the last resort for errors (S201)."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from agent_factory.api.middleware import BodyGuard, Entrance
from agent_factory.api.settings import ServerSettings
from agent_factory.api.sse import EventStream
from agent_factory.monitoring.metrics import Metrics
from tests.serving import Client

JSON = {"content-type": "application/json"}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


def guarded(app: ASGIApp, **settings: Any) -> tuple[httpx2.AsyncClient, Metrics]:
    metrics = Metrics()
    chosen = ServerSettings(**settings)
    whole = Entrance(BodyGuard(app, max_body=chosen.max_body), settings=chosen, metrics=metrics, log_requests=False)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=whole), base_url="http://localhost"), metrics


async def test_a_request_id_is_echoed_and_an_unusable_one_replaced() -> None:
    http, _ = guarded(echo)
    assert (await http.get("/", headers={"X-Request-Id": "mine-1"})).headers["x-request-id"] == "mine-1"
    for unusable in ("", "x" * 129, "a b", 'x"y', "<script>"):
        given = (await http.get("/", headers={"X-Request-Id": unusable})).headers["x-request-id"]
        assert given != unusable
        assert len(given) == 32


async def test_a_sound_traceparent_comes_back_and_a_broken_one_does_not() -> None:
    http, _ = guarded(echo)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert (await http.get("/", headers={"traceparent": trace})).headers["traceparent"] == trace
    assert "traceparent" not in (await http.get("/", headers={"traceparent": "nonsense"})).headers


async def test_every_answer_has_the_security_headers(anyone: Client) -> None:
    for path in ("/health", "/nothing", "/api/v1/agents", "/"):
        headers = (await anyone.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]


async def test_a_body_at_the_limit_passes_and_one_over_it_is_413() -> None:
    http, _ = guarded(echo, max_body=2048)
    at_limit = json.dumps("x" * 2046).encode()
    assert (await http.post("/", content=at_limit, headers=JSON)).content == at_limit
    over = await http.post("/", content=at_limit + b" ", headers=JSON)
    assert over.status_code == 413
    assert over.json()["code"] == "body_too_large"


async def test_a_body_without_a_length_is_counted_as_it_comes() -> None:
    http, _ = guarded(echo, max_body=2048)

    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(100):
            yield b" " * 1000

    assert (await http.post("/", content=pieces(), headers=JSON)).status_code == 413


async def test_a_body_in_pieces_arrives_whole() -> None:
    http, _ = guarded(echo)

    async def pieces() -> AsyncGenerator[bytes, None]:
        for piece in (b'{"a"', b": ", b'"', b'b"}'):
            yield piece

    assert (await http.post("/", content=pieces(), headers=JSON)).content == b'{"a": "b"}'


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "multipart/form-data", "application/jsonp", ""])
async def test_a_body_that_is_not_declared_as_json_is_415(media: str) -> None:
    http, _ = guarded(echo)
    answer = await http.post("/", content=b"{}", headers={"content-type": media})
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    "media", ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"]
)
async def test_every_spelling_of_json_is_read(media: str) -> None:
    http, _ = guarded(echo)
    assert (await http.patch("/", content=b"{}", headers={"content-type": media})).status_code == 200


async def test_a_request_without_a_body_needs_no_type() -> None:
    http, _ = guarded(echo)
    assert (await http.post("/")).status_code == 200


async def test_an_unexpected_error_is_a_500_that_tells_nothing_and_is_logged() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret inside /srv/app.py SELECT * FROM users")

    http, metrics = guarded(broken)
    with capture_logs() as logs:
        answer = await http.get("/", headers={"X-Request-Id": "r1"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert answer.json()["request_id"] == "r1"
    assert "secret" not in answer.text
    assert "SELECT" not in answer.text
    assert any(entry["log_level"] == "error" for entry in logs)
    counted = metrics.registry.get_sample_value(
        "http_requests_total", {"method": "GET", "route": "unmatched", "status": "500"}
    )
    assert counted == 1


async def test_an_answer_that_takes_too_long_is_504() -> None:
    async def hanging(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    http, _ = guarded(hanging, request_timeout=0.05)
    answer = await http.get("/")
    assert answer.status_code == 504
    assert answer.json()["code"] == "request_timeout"


async def test_a_stream_may_last_longer_than_the_deadline() -> None:
    ended = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        await asyncio.wait_for(ended.wait(), 5)
        yield b"data: 2\n\n"

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        asyncio.get_running_loop().call_later(0.2, ended.set)
        await EventStream(source())(scope, receive, send)

    http, _ = guarded(streaming, request_timeout=0.05)
    answer = await http.get("/")
    assert answer.text == "data: 1\n\ndata: 2\n\n"


async def test_a_timeout_of_the_endpoints_own_is_no_deadline_of_ours() -> None:
    async def timing_out(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError

    http, _ = guarded(timing_out)
    assert (await http.get("/")).json()["code"] == "internal_error"


async def test_only_the_hosts_of_the_settings_are_answered() -> None:
    """Abuse 75: an unknown Host."""
    http, _ = guarded(echo, hosts=("api.example.com",))
    assert (await http.get("/", headers={"host": "api.example.com"})).status_code == 200
    assert (await http.get("/", headers={"host": "API.example.com:8080"})).status_code == 200
    for other in ("evil.example.com", "api.example.com.evil.org", "", "127.0.0.1"):
        assert (await http.get("/", headers={"host": other})).status_code == 400


async def test_a_nul_character_in_the_address_is_refused(client: Client) -> None:
    assert (await client.get("/api/v1/agents?name=%00")).status_code == 400
    assert (await client.get("/api/v1/agents/%00")).status_code == 400


async def test_a_client_that_leaves_ends_its_request() -> None:
    sent: list[Message] = []
    http_app = BodyGuard(echo, max_body=1024)
    whole = Entrance(http_app, settings=ServerSettings(), metrics=Metrics(), log_requests=False)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    await whole(scope, receive, send)
    assert [m.get("status") for m in sent if m["type"] == "http.response.start"] == [400]


async def test_requests_are_counted_under_their_route_and_never_under_their_address(client: Client) -> None:
    """S169: labels are bounded, whatever is asked for."""
    agent = await client.create_agent()
    await client.get(f"/api/v1/agents/{agent['id']}")
    for n in range(3):
        await client.get(f"/nothing/{n}")
    text = (await client.get("/metrics")).text
    assert 'http_requests_total{method="GET",route="/api/v1/agents/{agent_id}",status="200"}' in text
    assert 'http_request_duration_seconds_count{method="GET",route="/api/v1/agents/{agent_id}"}' in text
    assert agent["id"] not in text
    assert "/nothing/1" not in text
