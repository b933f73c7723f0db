"""Errors on the wire: RFC 9457 everywhere, OpenAI's shape under /v1."""

import json

import pytest
from starlette.responses import Response

from agent_factory.api.problems import STATUS, from_validation, openai_shape, respond
from agent_factory.kit.errors import FieldError, Invalid, Kind, NotFound, Problem, Unavailable
from tests.serving import Client


def sent(response: Response) -> dict[str, object]:
    return json.loads(bytes(response.body))


def test_every_kind_has_a_status() -> None:
    assert set(STATUS) == set(Kind)


async def test_an_unknown_path_is_a_problem_document(anyone: Client) -> None:
    answer = await anyone.get("/api/v1/nothing", headers={"X-Request-Id": "abc-1"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == 404
    assert body["code"] == "not_found"
    assert body["request_id"] == "abc-1"
    assert body["instance"] == "/api/v1/nothing"
    assert set(body) == {"type", "title", "status", "detail", "code", "instance", "request_id"}


async def test_a_method_that_is_not_there_names_those_that_are(anyone: Client) -> None:
    answer = await anyone.delete("/health")
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "GET"


async def test_under_v1_errors_have_the_shape_that_openai_clients_read(anyone: Client, client: Client) -> None:
    unknown = await anyone.post("/v1/nothing", json={})
    assert unknown.status_code == 404
    assert unknown.headers["content-type"] == "application/json"
    assert set(unknown.json()["error"]) == {"message", "type", "param", "code"}
    refused = await anyone.get("/v1/models")
    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"
    malformed = await client.post("/v1/chat/completions", content=b"{", headers={"content-type": "application/json"})
    assert malformed.status_code == 400
    assert malformed.json()["error"]["type"] == "invalid_request_error"


def test_the_first_fault_is_openais_param() -> None:
    shape = openai_shape(Invalid("1 fault(s).", errors=[FieldError("/messages/0/role", "unknown role")]))
    assert shape["error"]["param"] == "messages.0.role"
    assert "unknown role" in shape["error"]["message"]


def test_a_pause_is_told_in_whole_seconds_of_at_least_one() -> None:
    scope = {"type": "http", "path": "/x", "state": {}}
    assert respond(Unavailable("later", retry_after=0.2), scope).headers["retry-after"] == "1"


def test_a_missing_login_says_how_to_log_in() -> None:
    class NoLogin(Problem):
        kind = Kind.UNAUTHENTICATED

    response = respond(NoLogin("who?"), {"type": "http", "path": "/x", "state": {}})
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_pointers_lead_into_the_body_or_name_the_parameter() -> None:
    problem = from_validation(
        [
            {"type": "missing", "loc": ("body", "a/b", 0, "c~d"), "msg": "Field required"},
            {"type": "int_type", "loc": ("query", "limit"), "msg": "not a number"},
        ]
    )
    assert [e.pointer for e in problem.errors] == ["/a~1b/0/c~0d", "/query/limit"]


def test_only_so_many_faults_are_told() -> None:
    faults = [{"type": "missing", "loc": ("body", n), "msg": "Field required"} for n in range(500)]
    assert len(from_validation(faults).errors) == 50


async def test_validation_faults_have_their_pointers(client: Client) -> None:
    """S63: 422 with a JSON pointer an error."""
    answer = await client.post(
        "/api/v1/agents",
        json={
            "name": "x",
            "model": "no-such-vendor:model",
            "tools": ["nope", {"use": "calculator", "config": {"a": 1}}],
            "guardrails": [{"use": "pii", "config": {"kinds": 3}}],
        },
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    pointers = {e["pointer"] for e in answer.json()["errors"]}
    assert {"/model", "/tools/0"} <= pointers
    assert any(p.startswith("/tools/1/config") for p in pointers)
    assert any(p.startswith("/guardrails/0") for p in pointers)


def test_a_problem_of_the_product_tells_nothing_of_its_inside() -> None:
    document = sent(respond(NotFound("gone"), {"type": "http", "path": "/x", "state": {"request_id": "r"}}))
    assert document["detail"] == "gone"
    with pytest.raises(KeyError):
        document["errors"]
