"""Every refusal of a vendor has one meaning (S62)."""

import json
from datetime import timedelta
from email.utils import format_datetime

import pytest

from agent_factory.core.model import (
    ContentFiltered,
    ContextExceeded,
    ModelAuthFailed,
    ModelError,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
)
from agent_factory.kit.clock import now
from agent_factory.providers.wire.failures import failure


def body(**error: object) -> bytes:
    return json.dumps({"error": error}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, ModelRejected, False),
        (401, ModelAuthFailed, False),
        (402, ModelRejected, False),
        (403, ModelAuthFailed, False),
        (404, ModelRejected, False),
        (408, ModelTimeout, True),
        (409, ModelUnavailable, True),
        (413, ModelRejected, False),
        (422, ModelRejected, False),
        (425, ModelUnavailable, True),
        (429, ModelRateLimited, True),
        (500, ModelUnavailable, True),
        (502, ModelUnavailable, True),
        (503, ModelUnavailable, True),
        (504, ModelTimeout, True),
        (529, ModelUnavailable, True),
        (302, ModelRejected, False),
        (204, ModelRejected, False),
    ],
)
def test_a_status_has_one_class(status: int, kind: type[ModelError], retryable: bool) -> None:
    error = failure("p", status, {}, body(message="words"))
    assert type(error) is kind
    assert error.retryable is retryable
    assert str(status) in error.detail


@pytest.mark.parametrize(
    "error",
    [
        {"code": "context_length_exceeded", "message": "x"},
        {"message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."},
        {"type": "invalid_request_error", "message": "prompt is too long: 205000 tokens > 200000 maximum"},
        {"type": "exceed_context_size_error", "message": "the request exceeds the available context size"},
        {"message": "input length and `max_tokens` exceed context limit"},
        {"message": "Please reduce: the input exceeds max_model_len"},
        {"message": "Input is too long for requested model."},
    ],
)
def test_a_conversation_that_is_too_long_is_told_apart(error: dict[str, str]) -> None:
    assert type(failure("p", 400, {}, body(**error))) is ContextExceeded


def test_a_vendors_filter_is_told_apart() -> None:
    assert type(failure("azure", 400, {}, body(code="content_filter", message="x"))) is ContentFiltered


@pytest.mark.parametrize(
    "said",
    [
        body(message="no such model"),
        b'[{"error": {"message": "no such model"}}]',
        b'{"message": "no such model"}',
        b'{"detail": "no such model"}',
        b'{"error": "no such model"}',
        b'{"error": {"message": {"text": "no such model"}}}',
    ],
)
def test_the_vendors_words_are_found(said: bytes) -> None:
    assert "no such model" in failure("p", 404, {}, said).detail


@pytest.mark.parametrize("said", [b"", b"<html>502</html>", b"\xff\xfe", b"[]", b"null", b"[[]]", b'{"error": null}'])
def test_a_refusal_without_words_is_still_told(said: bytes) -> None:
    assert failure("p", 502, {}, said).detail.startswith("p answered 502")


def test_a_refused_key_is_not_repeated() -> None:
    error = failure("openai", 401, {}, body(message="Incorrect API key provided: sk-s3cret"))
    assert "s3cret" not in error.detail
    assert "API key" in error.detail


def test_long_words_are_cut() -> None:
    assert len(failure("p", 400, {}, body(message="x" * 10_000)).detail) < 600


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_wish_to_wait_is_read(headers: dict[str, str], seconds: float | None, status: int) -> None:
    assert failure("p", status, headers, b"").retry_after == seconds


def test_the_wish_to_wait_may_be_a_date() -> None:
    later = failure("p", 429, {"retry-after": format_datetime(now() + timedelta(seconds=30), usegmt=True)}, b"")
    past = failure("p", 429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"")
    assert later.retry_after is not None
    assert 25 < later.retry_after <= 30
    assert past.retry_after == 0
