"""What signatures, paths, types of events and requests mean, without a server."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.kit.errors import Problem
from agent_factory.kit.ids import uuid7
from agent_factory.services.triggers.errors import SignatureInvalid
from agent_factory.services.triggers.rules.configs import (
    Signature,
    TriggerType,
    WebhookConfig,
    heard_as,
    new_path,
    read_config,
)
from agent_factory.services.triggers.rules.naming import declared_id, is_declared
from agent_factory.services.triggers.rules.requests import Call, document, key_of, read_body
from agent_factory.services.triggers.rules.signatures import key_of as key_of_secret
from agent_factory.services.triggers.rules.signatures import new_secret, verify

SIGNED = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
"""The example that Standard Webhooks is published with."""

AT = datetime.fromtimestamp(1614265330, UTC)


def call(**parts: Any) -> Call:
    usual: dict[str, Any] = {"method": "POST", "path": "x", "query": "", "headers": {}, "body": b""}
    return Call(**usual | parts)


def test_the_published_example_of_standard_webhooks_is_taken() -> None:
    key = key_of_secret(Signature.STANDARD, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    verify(Signature.STANDARD, key, SIGNED, b'{"test": 2432232314}', now=AT, tolerance=1)
    with pytest.raises(SignatureInvalid):
        verify(Signature.STANDARD, key, SIGNED, b'{"test":2432232314}', now=AT, tolerance=1)


def test_the_published_example_of_github_is_taken() -> None:
    key = key_of_secret(Signature.GITHUB, "It's a Secret to Everybody")
    made = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    verify(Signature.GITHUB, key, {"x-hub-signature-256": made}, b"Hello, World!", now=AT, tolerance=1)
    with pytest.raises(SignatureInvalid):
        verify(Signature.GITHUB, key, {"x-hub-signature-256": made}, b"Hello, World?", now=AT, tolerance=1)


@given(headers=st.dictionaries(st.sampled_from([*SIGNED, "x-hub-signature-256"]), st.text(max_size=80)))
def test_no_headers_whatever_pass_for_a_signature(headers: dict[str, str]) -> None:
    for signature in Signature:
        with pytest.raises(SignatureInvalid):
            verify(signature, b"k" * 32, headers, b"body", now=AT, tolerance=3600)


@pytest.mark.parametrize("signature", list(Signature))
def test_secrets_that_are_made_can_be_used_and_are_all_different(signature: Signature) -> None:
    made = {new_secret(signature) for _ in range(100)}
    assert len({key_of_secret(signature, secret) for secret in made}) == 100


def test_paths_that_are_made_are_valid_and_all_different() -> None:
    made = {new_path() for _ in range(200)}
    assert len(made) == 200
    for path in made:
        assert read_config(TriggerType.WEBHOOK, {"path": path}) == WebhookConfig(path=path)


def test_an_event_is_heard_of_by_its_type_and_by_every_star_above_it() -> None:
    assert heard_as("a.b.c") == ["a.b.c", "a.b.*", "a.*", "*"]
    assert heard_as("a") == ["a", "*"]


def test_a_workflow_has_one_declared_trigger() -> None:
    workflow_id = uuid7()
    made = declared_id(workflow_id)
    assert is_declared(made, workflow_id)
    assert not is_declared(uuid7(), workflow_id)
    assert not is_declared(made, uuid7())
    assert made.version == 7


def test_the_fields_of_a_body_never_pass_for_the_request() -> None:
    given = document(call(headers={"user-agent": "t"}), WebhookConfig(), {"headers": {"user-agent": "x"}, "a": 1})
    assert given["headers"] == {"user-agent": "t"}
    assert given["body"] == {"headers": {"user-agent": "x"}, "a": 1}
    assert given["a"] == 1


def test_a_repetition_is_known_by_what_the_sender_signs_first() -> None:
    headers = {"idempotency-key": "b", "webhook-id": "a", "x-github-delivery": "c"}
    assert key_of(call(headers=headers), WebhookConfig()) == "webhook-id a"
    assert key_of(call(headers=headers), WebhookConfig(signature=Signature.GITHUB)) == "x-github-delivery c"
    assert key_of(call(), WebhookConfig()) is None


@given(
    body=st.binary(max_size=200),
    media=st.sampled_from(["text/plain", "application/x-www-form-urlencoded", "", "application/xml", "image/png"]),
)
def test_whatever_is_sent_is_read_or_refused(body: bytes, media: str) -> None:
    try:
        read = read_body(call(body=body, headers={"content-type": media}))
    except Problem:
        return
    assert read is None or "\0" not in str(read)
