"""HTTP requests as tasks, against a server that counts effects and one that remembers what it was asked."""

import asyncio
import json
from typing import Any

import pytest

from agent_factory.core.event import TaskRetrying
from agent_factory.runtime.flow.outcome import Waiting
from tests.doubles.fixtures import EffectsServer
from tests.doubles.web import Web
from tests.runtime.leaves.parts import QUICK, SECRET, Crash, DyingJournal, Flows, task


def call(url: str, task_id: str = "call", /, *, fields: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    return task(task_id, "http", {"url": url, **config}, **(fields or {}))


def asked(web: Web) -> dict[str, Any]:
    return web.seen


async def test_the_output_has_status_headers_and_the_document(flows: Flows, web: Web) -> None:
    web.answers["/it"] = (
        201,
        {"Content-Type": "application/problem+json; charset=utf-8", "X-Odd": "yes"},
        b'{"a": [1]}',
    )
    output = await flows.output(call(web.url("/it"), method="POST", json={"n": "{{ input }}"}), document=5)
    assert (output["status"], output["body"], output["headers"]["x-odd"]) == (201, {"a": [1]}, "yes")
    seen = asked(web)
    assert (seen["method"], json.loads(seen["body"]), seen["headers"]["Content-Type"]) == (
        "POST",
        {"n": 5},
        "application/json",
    )


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("text/plain", "häuser".encode(), {"body": "häuser"}),
        ("text/plain; charset=latin-1", "häuser".encode("latin-1"), {"body": "häuser"}),
        ("application/json", b"{broken", {"body": "{broken"}),
        ("application/json", b"null", {"body": None}),
        ("image/png", b"\x89PNG\0", {"body": "iVBORwA=", "encoding": "base64"}),
        ("application/octet-stream", b"\xff\xfe", {"body": "//4=", "encoding": "base64"}),
        ("text/plain", b"", {"body": None}),
    ],
)
async def test_every_body_becomes_data(
    flows: Flows, web: Web, kind: str, body: bytes, expected: dict[str, Any]
) -> None:
    web.answers["/it"] = (200, {"Content-Type": kind}, body)
    output = await flows.output(call(web.url("/it")))
    assert {k: output[k] for k in ("body", "encoding") if k in output} == expected


async def test_query_values_are_written_as_text(flows: Flows, web: Web) -> None:
    query = {"text": "a b&c", "number": 1.5, "yes": True, "none": None, "many": [1, "two"], "what": "{{ input }}"}
    await flows.output(call(web.url("/echo?first=0"), query=query), document={"x": 1})
    path = asked(web)["path"]
    assert path == "/echo?first=0&text=a+b%26c&number=1.5&yes=true&many=1&many=two&what=%7B%22x%22:1%7D"


async def test_a_task_with_json_and_body_is_refused(flows: Flows, web: Web) -> None:
    error = await flows.error(call(web.url("/"), method="POST", json=1, body="x"))
    assert (error["code"], error["errors"][0]["pointer"]) == ("validation_failed", "/config/body")
    assert web.asked == []


async def test_every_request_carries_the_key_of_its_task(flows: Flows, effects_server: EffectsServer) -> None:
    loop = task("each", "map", {"items": [1, 2, 3], "tasks": [call(effects_server.url, "pay", method="POST", json=1)]})
    await flows.output(loop)
    for index in range(3):
        assert (await effects_server.of(f"{flows.run_id}/each[{index}]/pay"))["effects"] == 1


async def test_an_authors_own_key_is_kept(flows: Flows, web: Web) -> None:
    await flows.output(call(web.url("/"), headers={"idempotency-key": "order-{{ input }}"}), document=7)
    assert {k.lower(): v for k, v in asked(web)["headers"].items()}["idempotency-key"] == "order-7"


async def test_a_run_without_a_name_sends_no_key(flows: Flows, web: Web) -> None:
    """Two such runs would have the same."""
    flows.run_id = ""
    await flows.output(call(web.url("/")))
    assert "Idempotency-Key" not in asked(web)["headers"]


async def test_a_recorded_request_is_not_made_again(flows: Flows, effects_server: EffectsServer) -> None:
    definition = call(effects_server.url, method="POST")
    first = await flows.output(definition)
    assert await flows.output(definition) == first
    assert (await effects_server.of(f"{flows.run_id}/call"))["requests"] == 1


async def test_a_crash_before_the_record_repeats_the_request_and_not_the_effect(
    flows: Flows, effects_server: EffectsServer
) -> None:
    definition = call(effects_server.url, method="POST", body="order")
    flows.journal = DyingJournal("call")
    with pytest.raises(Crash):
        await flows.run(definition)
    await flows.output(definition)
    found = await effects_server.of(f"{flows.run_id}/call")
    assert (found["requests"], found["effects"], found["conflicts"]) == (2, 1, 0)


async def test_a_lost_answer_is_asked_for_again_under_the_same_key(flows: Flows, effects_server: EffectsServer) -> None:
    output = await flows.output(call(f"{effects_server.url}?lose=2", method="POST", fields={"retry": QUICK}))
    found = await effects_server.of(f"{flows.run_id}/call")
    assert (found["requests"], found["effects"]) == (3, 1)
    assert output["body"]["key"] == f"{flows.run_id}/call"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408, 425])
async def test_what_may_pass_is_tried_again(flows: Flows, effects_server: EffectsServer, status: int) -> None:
    """S88: 5xx and 429 may pass by themselves."""
    url = f"{effects_server.url}?fail=2&status={status}"
    assert (await flows.output(call(url, fields={"retry": QUICK})))["status"] == 200
    assert [e.code for e in flows.events if isinstance(e, TaskRetrying)] == ["http_unavailable"] * 2


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 422])
async def test_what_another_try_would_not_change_fails_at_once(
    flows: Flows, effects_server: EffectsServer, status: int
) -> None:
    error = await flows.error(call(f"{effects_server.url}?status={status}", fields={"retry": QUICK}))
    assert (error["code"], error["kind"]) == ("http_refused", "upstream")
    assert f"answered {status}: " in error["detail"]
    assert "told to fail" in error["detail"]
    assert (await effects_server.of(f"{flows.run_id}/call"))["requests"] == 1


async def test_an_expected_status_is_an_answer_and_others_are_not(flows: Flows, effects_server: EffectsServer) -> None:
    found = call(f"{effects_server.url}?status=404", expect=[200, 404])
    assert (await flows.output(found))["status"] == 404
    error = await flows.error(call(effects_server.url, "other", expect=[404]))
    assert error["code"] == "http_refused"


async def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(flows: Flows, effects_server: EffectsServer) -> None:
    """A long pause is a timer, which holds nothing."""
    url = f"{effects_server.url}?fail=1&status=429&retry_after=30"
    end = await flows.run(call(url, fields={"retry": QUICK}))
    assert isinstance(end, Waiting)
    [wait] = end.waits
    assert wait.kind == "timer"
    [told] = [e for e in flows.events if isinstance(e, TaskRetrying)]
    assert told.delay == 30


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("99999999", 3600.0),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
async def test_every_form_of_retry_after_is_understood_or_ignored(
    flows: Flows, web: Web, value: str, expected: float | None
) -> None:
    web.answers["/busy"] = (503, {"Retry-After": value}, b"")
    assert (await flows.error(call(web.url("/busy")))).get("retry_after") == expected


async def test_an_answer_that_is_too_long_is_cut_off(flows: Flows, web: Web) -> None:
    """Abuse 61."""
    error = await flows.error(call(web.url("/endless"), max_bytes=10_000))
    assert (error["code"], error.get("retryable")) == ("egress_too_large", None)


async def test_an_answer_that_never_ends_is_cut_off_by_the_tasks_timeout(flows: Flows, web: Web) -> None:
    error = await flows.error(call(web.url("/drip"), fields={"timeout": 0.3}))
    assert (error["kind"], error["retryable"]) == ("timeout", True)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1/", "egress_blocked"),
        ("http://169.254.169.254/latest", "egress_blocked"),
        ("http://[::1]/", "egress_blocked"),
        ("http://user:word@example.com/", "egress_blocked"),
        ("file:///etc/passwd", "validation_failed"),
        ("not a url", "validation_failed"),
    ],
)
async def test_no_request_leaves_for_where_none_may_go(flows: Flows, url: str, code: str) -> None:
    """Abuse 58: also where a run's input says so."""
    error = await flows.error(call("{{ input }}"), document=url)
    assert error["code"] == code
    assert "retryable" not in error


async def test_a_redirect_is_not_followed(flows: Flows, web: Web) -> None:
    """Abuse 59."""
    output = await flows.output(call(web.url("/redirect?to=http://127.0.0.1:1/"), expect=[302]))
    assert output["headers"]["location"] == "http://127.0.0.1:1/"
    assert len(web.asked) == 1


async def test_a_server_that_is_away_may_come_back(flows: Flows, web: Web) -> None:
    port = web.port

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(closes, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert flows.resources is not None
    assert port
    flows.resources.doors["private_hosts"] += (host,)  # type: ignore[index] # pyright: ignore[reportIndexIssue] - the test's own mapping
    error = await flows.error(call(f"http://{host}/"))
    server.close()
    await server.wait_closed()
    assert (error["code"], error["retryable"]) == ("egress_failed", True)


async def test_a_secret_goes_to_the_host_that_the_author_wrote_and_is_masked_in_the_answer(
    flows: Flows, web: Web
) -> None:
    """Abuse 68."""
    output = await flows.output(call(web.url("/{{ input }}"), secret="TOKEN"), document="echo")
    assert asked(web)["headers"]["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in json.dumps(output)
    assert output["body"]["headers"]["Authorization"] == "[redacted]"
    assert SECRET.encode() not in b"".join(bytes(flows.entry(path).output) for path in flows.recorded())


@pytest.mark.parametrize(
    ("use", "where", "sent"),
    [
        ({"header": "X-Key", "format": "{}"}, ("headers", "X-Key"), SECRET),
        ({"query": "key"}, ("query", "key"), SECRET),
        ({"format": "Token {}"}, ("headers", "Authorization"), f"Token {SECRET}"),
    ],
)
async def test_a_secret_goes_where_the_task_says(
    flows: Flows, web: Web, use: dict[str, str], where: tuple[str, str], sent: str
) -> None:
    output = await flows.output(call(web.url("/x"), secret={"name": "TOKEN", **use}))
    assert asked(web)[where[0]][where[1]] == sent
    assert SECRET not in json.dumps(output)


async def test_a_secret_is_masked_in_a_failure(flows: Flows, web: Web) -> None:
    web.answers["/no"] = (403, {"Content-Type": "text/plain"}, f"bad token {SECRET}".encode())
    assert SECRET not in json.dumps(await flows.error(call(web.url("/no"), secret="TOKEN")))


@pytest.mark.parametrize(
    "url", ["{{ input }}", "http://{{ input }}/", "http://a.example{{ input }}", "http://a.example:{{ input }}/"]
)
async def test_a_run_cannot_choose_where_a_secret_goes(flows: Flows, web: Web, url: str) -> None:
    """Abuse 62: a credential is bound to a host."""
    error = await flows.error(call(url, secret="TOKEN"), document=f"http://{web.host}/")
    assert error["code"] in ("validation_failed", "egress_blocked")
    assert web.asked == []


async def test_a_secret_travels_by_https_only(flows: Flows) -> None:
    error = await flows.error(call("http://example.com/", secret="TOKEN"))
    assert error["code"] == "tool_denied"


async def test_a_secret_that_is_not_set_is_told(flows: Flows, web: Web) -> None:
    error = await flows.error(call(web.url("/"), secret="MISSING"))
    assert (error["code"], web.asked) == ("not_found", [])


@pytest.mark.parametrize(
    "headers", [{"Host": "evil"}, {"Content-Length": "5"}, {"X": "a\r\nY: b"}, {"Transfer-Encoding": "chunked"}]
)
async def test_no_header_hides_a_second_request(flows: Flows, web: Web, headers: dict[str, str]) -> None:
    error = await flows.error(call(web.url("/"), headers=headers))
    assert (error["code"], web.asked) == ("validation_failed", [])


async def test_a_header_in_a_runs_input_is_held_to_the_same(flows: Flows, web: Web) -> None:
    error = await flows.error(call(web.url("/"), headers={"X": "{{ input }}"}), document="a\r\nHost: b")
    assert (error["code"], web.asked) == ("validation_failed", [])


async def test_an_author_cannot_send_his_own_header_in_place_of_the_secret(flows: Flows, web: Web) -> None:
    error = await flows.error(call(web.url("/"), secret="TOKEN", headers={"authorization": "x"}))
    assert (error["code"], web.asked) == ("validation_failed", [])
