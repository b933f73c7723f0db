"""Requests that reach a webhook, over HTTP, to the end of their runs (S90, S100)."""

import asyncio
import json
from typing import Any

import pytest

from agent_factory.kit.ids import uuid7
from tests.services.triggers.parts import ECHO, TRIGGERS, a_path, github, runs_of, standard, trigger
from tests.services.workflows.parts import create, until
from tests.serving import Client

JSON = {"content-type": "application/json"}


async def given_to(client: Client, answer: Any) -> Any:
    """What the run of a request was given."""
    assert answer.status_code == 202, answer.text
    return (await until(client, answer.json()["run_id"], "completed"))["input"]


async def test_a_request_starts_a_run_and_is_told_which(client: Client, anyone: Client, workflow: str) -> None:
    path = a_path()
    made = await trigger(client, workflow, config={"path": path})
    assert made["path"] == f"/webhook/{path}"
    answer = await anyone.post(made["path"], json={"message": "hello"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/v1/runs/{answer.json()['run_id']}"
    run = await until(client, answer.json()["run_id"], "completed")
    assert (run["trigger"], run["workflow_id"]) == ("webhook", workflow)
    assert run["output"]["body"] == {"message": "hello"}


async def test_a_run_sees_the_request_and_no_credentials(client: Client, anyone: Client, workflow: str) -> None:
    made = await trigger(client, workflow, config={"headers": ["X-Tenant"]})
    headers = {"X-Tenant": "acme", "X-Other": "no", "Authorization": "Bearer abc", "Cookie": "a=b", "User-Agent": "t"}
    answer = await anyone.post(
        f"{made['path']}?q=1&tag=a&tag=b&wait=0", json={"message": "hello", "method": "?"}, headers=headers
    )
    given = await given_to(client, answer)
    assert given["body"] == {"message": "hello", "method": "?"}
    assert given["message"] == "hello"
    assert given["method"] == "POST"
    assert given["query"] == {"q": "1", "tag": ["a", "b"]}
    assert given["headers"] == {"content-type": "application/json", "user-agent": "t", "x-tenant": "acme"}


async def test_a_run_can_be_given_the_body_alone(client: Client, anyone: Client, workflow: str) -> None:
    made = await trigger(client, workflow, config={"input": "body"})
    assert await given_to(client, await anyone.post(made["path"], json=[1, 2])) == [1, 2]


@pytest.mark.parametrize(
    ("media", "body", "expected"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/cloudevents+json; charset=utf-8", b"[1]", [1]),
        ("application/x-www-form-urlencoded", b"a=1&b=2&b=3&c=", {"a": "1", "b": ["2", "3"], "c": ""}),
        ("text/plain", "grüß".encode(), "grüß"),
        ("application/xml", b"<a/>", "<a/>"),
        ("", b"plain", "plain"),
        ("application/octet-stream", b"", None),
    ],
)
async def test_a_body_is_read_as_its_type_says(
    client: Client, anyone: Client, workflow: str, media: str, body: bytes, expected: Any
) -> None:
    made = await trigger(client, workflow)
    answer = await anyone.post(made["path"], content=body, headers={"content-type": media} if media else {})
    assert (await given_to(client, answer))["body"] == expected


@pytest.mark.parametrize(
    ("media", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b'{"a": NaN}', 400),
        ("application/json", b'{"a": "\\u0000"}', 400),
        ("text/plain", b"\xff", 400),
        ("text/plain", b"a\0b", 400),
        ("application/x-www-form-urlencoded", b"a=%00", 400),
        ("application/x-www-form-urlencoded", b"a=%ff", 400),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 1001), 400),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("application/octet-stream", b"\x00", 415),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_and_starts_nothing(
    client: Client, anyone: Client, workflow: str, media: str, body: bytes, status: int
) -> None:
    made = await trigger(client, workflow)
    answer = await anyone.post(made["path"], content=body, headers={"content-type": media})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert await runs_of(client, "webhook") == []


async def test_only_the_methods_of_the_webhook_are_taken(client: Client, anyone: Client, workflow: str) -> None:
    posted = await trigger(client, workflow)
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert (await anyone.request(method, posted["path"])).status_code == 405, method
    got = await trigger(client, workflow, config={"method": "get"})
    assert got["config"] == {"method": "GET"}
    given = await given_to(client, await anyone.get(f"{got['path']}?a=1"))
    assert (given["method"], given["query"], given["body"]) == ("GET", {"a": "1"}, None)
    whatever = await trigger(client, workflow, config={"method": "ANY"})
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        assert (await anyone.request(method, whatever["path"])).status_code == 202, method


async def test_where_nobody_listens_there_is_nothing(client: Client, anyone: Client, workflow: str) -> None:
    made = await trigger(client, workflow)
    for path in ("/webhook/", "/webhook/nobody", f"{made['path']}/more", f"{made['path']}%2Fmore"):
        assert (await anyone.post(path, json={})).status_code == 404, path
    await client.patch(f"{TRIGGERS}/{made['id']}", json={"enabled": False})
    assert (await anyone.post(made["path"], json={})).status_code == 404


async def test_a_body_over_the_limit_is_refused(client: Client, anyone: Client, workflow: str) -> None:
    made = await trigger(client, workflow, config={"max_body": 10})
    assert (await anyone.post(made["path"], content=b"12345678901")).status_code == 413
    assert (await anyone.post(made["path"], content=b"1234567890")).status_code == 202
    huge = await trigger(client, workflow, config={"max_body": 10_485_760})
    answer = await anyone.post(huge["path"], content=b"x" * 1_048_577)
    assert answer.status_code == 413  # the server's own limit holds


async def test_a_workflow_that_is_not_in_service_starts_nothing(client: Client, anyone: Client) -> None:
    draft = await create(client, ECHO, deploy=False)
    made = await trigger(client, draft)
    answer = await anyone.post(made["path"], json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "workflow_not_deployed")


async def test_an_input_that_does_not_fit_the_workflow_is_refused_with_pointers(client: Client, anyone: Client) -> None:
    schema = {"type": "object", "required": ["message"]}
    made = await trigger(client, await create(client, {**ECHO, "input": schema}))
    answer = await anyone.post(made["path"], json={"words": 1})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/input")
    assert (await anyone.post(made["path"], json={"message": 1})).status_code == 202


# Repetitions.


@pytest.mark.parametrize("header", ["webhook-id", "Idempotency-Key"])
async def test_a_repeated_request_has_the_run_of_the_first(
    client: Client, anyone: Client, workflow: str, header: str
) -> None:
    made = await trigger(client, workflow)
    answers = await asyncio.gather(
        *(anyone.post(made["path"], json={"n": 1}, headers={header: "key-1"}) for _ in range(20))
    )
    assert {a.status_code for a in answers} == {202}, [a.text for a in answers]
    assert len({a.json()["run_id"] for a in answers}) == 1
    waited = await anyone.post(made["path"], json={"n": 1}, headers={header: "key-1"}, params={"wait": 30})
    assert (waited.status_code, waited.json()["run_id"]) == (200, answers[0].json()["run_id"])
    other = await anyone.post(made["path"], json={"n": 1}, headers={header: "key-2"})
    assert other.json()["run_id"] != answers[0].json()["run_id"]
    assert len(await runs_of(client, "webhook")) == 2
    refused = await anyone.post(made["path"], json={"n": 2}, headers={header: "key-1"})
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_key_is_of_one_webhook(client: Client, anyone: Client, workflow: str) -> None:
    one, two = await trigger(client, workflow), await trigger(client, workflow)
    answers = [await anyone.post(t["path"], json={}, headers={"webhook-id": "same"}) for t in (one, two)]
    assert answers[0].json()["run_id"] != answers[1].json()["run_id"]


async def test_a_request_that_failed_can_be_made_again_with_its_key(client: Client, anyone: Client) -> None:
    draft = await create(client, ECHO, deploy=False)
    made = await trigger(client, draft)
    first = await anyone.post(made["path"], json={}, headers={"webhook-id": "a"})
    assert first.status_code == 409
    await client.post(f"/api/v1/workflows/{draft}:deploy")
    again = await anyone.post(made["path"], json={}, headers={"webhook-id": "a"})
    assert again.status_code == 202
    await until(client, again.json()["run_id"], "completed")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_a_key_that_cannot_be_one_is_refused(client: Client, anyone: Client, workflow: str, key: str) -> None:
    made = await trigger(client, workflow)
    answer = await anyone.post(made["path"], json={}, headers={"webhook-id": key})
    assert answer.status_code == 400


# Answers.


async def test_a_webhook_may_answer_with_the_result(client: Client, anyone: Client, workflow: str) -> None:
    made = await trigger(client, workflow, config={"respond": "result", "input": "body"})
    answer = await anyone.post(made["path"], json={"a": 1})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["status"], told["output"], told["error"]) == ("completed", {"a": 1}, None)


async def test_who_waits_learns_the_status_but_only_the_owner_decides_on_the_result(
    client: Client, anyone: Client, workflow: str
) -> None:
    made = await trigger(client, workflow)
    answer = await anyone.post(made["path"], json={"a": 1}, params={"wait": 30})
    assert answer.status_code == 200
    assert answer.json() == {
        "run_id": answer.json()["run_id"],
        "status": "completed",
        "output": None,
        "error": None,
    }


async def test_who_does_not_wait_long_enough_gets_a_place_to_look(client: Client, anyone: Client) -> None:
    waiting = {"name": "waiting", "tasks": [{"id": "w", "type": "wait", "config": {"event": {"type": "never.comes"}}}]}
    made = await trigger(client, await create(client, waiting), config={"respond": "result", "wait": 0.05})
    answer = await anyone.post(made["path"], json={})
    assert answer.status_code == 202
    assert answer.json()["output"] is None
    assert (await anyone.post(made["path"], json={}, params={"wait": 61})).status_code == 422


# Signatures.


async def test_standard_webhooks_are_taken_with_their_signature_only(
    client: Client, anyone: Client, workflow: str
) -> None:
    made = await trigger(client, workflow, config={"signature": "standard"})
    body = b'{"a": 1}'
    good = standard(made["secret"], body, message=uuid7().hex)
    other = standard("whsec_" + "A" * 44, body)
    refused = [
        {},
        {**good, "webhook-signature": ""},
        {**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")},
        {**good, "webhook-signature": other["webhook-signature"]},
        {**good, "webhook-id": "another"},
        {**good, "webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)},
        {**good, "webhook-timestamp": "x"},
        {k: v for k, v in good.items() if k != "webhook-id"},
    ]
    for headers in refused:
        answer = await anyone.post(made["path"], content=body, headers=JSON | headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "signature_invalid"), headers
    changed = await anyone.post(made["path"], content=b'{"a": 2}', headers=JSON | good)
    assert changed.status_code == 401
    assert await runs_of(client, "webhook") == []
    rotating = {**good, "webhook-signature": f"{other['webhook-signature']} {good['webhook-signature']}"}
    assert (await anyone.post(made["path"], content=body, headers=JSON | rotating)).status_code == 202


async def test_a_signed_request_that_is_sent_again_starts_nothing_and_is_refused_when_it_is_old(
    client: Client, anyone: Client, workflow: str
) -> None:
    """What somebody has recorded on its way does nothing a second time."""
    made = await trigger(client, workflow, config={"signature": "standard", "tolerance": 60})
    body = b"{}"
    good = standard(made["secret"], body)
    answers = [await anyone.post(made["path"], content=body, headers=JSON | good) for _ in range(3)]
    assert len({a.json()["run_id"] for a in answers}) == 1
    sneaky = await anyone.post(made["path"], content=body, headers=JSON | good | {"Idempotency-Key": "new"})
    assert sneaky.json()["run_id"] == answers[0].json()["run_id"]
    assert len(await runs_of(client, "webhook")) == 1
    for offset in (-61, 70):
        at = float(good["webhook-timestamp"]) + offset
        old = standard(made["secret"], body, message="old", at=at)
        assert (await anyone.post(made["path"], content=body, headers=JSON | old)).status_code == 401


async def test_githubs_signature_is_checked_and_its_redelivery_starts_nothing(
    client: Client, anyone: Client, workflow: str
) -> None:
    made = await trigger(client, workflow, config={"signature": "github"})
    body = json.dumps({"ref": "main"}).encode()
    good = github(made["secret"], body)
    answers = [await anyone.post(made["path"], content=body, headers=JSON | good) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    given = await given_to(client, answers[0])
    assert given["headers"]["x-github-event"] == "push"
    assert "x-hub-signature-256" not in given["headers"]
    for bad in ("", "sha256=", "sha1=" + good["X-Hub-Signature-256"][7:], "sha256=" + "0" * 64, "sha256=ü"):
        headers = {k.encode(): v.encode() for k, v in (JSON | good | {"X-Hub-Signature-256": bad}).items()}
        assert (await anyone.post(made["path"], content=body, headers=headers)).status_code == 401, bad


async def test_the_method_is_checked_before_the_signature_and_the_signature_before_the_body(
    client: Client, anyone: Client, workflow: str
) -> None:
    made = await trigger(client, workflow, config={"signature": "standard"})
    assert (await anyone.get(made["path"])).status_code == 405
    answer = await anyone.post(made["path"], content=b"\xff", headers={"content-type": "application/octet-stream"})
    assert answer.status_code == 401
