"""What is known to be secret, and what looks like it, is masked wherever text leaves (S175, abuse 68)."""

import base64
import json
import time
from typing import Any
from urllib.parse import quote

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.message import Message, Reasoning, Text, ToolCall, ToolResult
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.kit.redaction import Redactor, masked_credentials, masked_keys, secret_values, without
from agent_factory.kit.spellings import MASK, forms
from agent_factory.runtime.masking import masked_messages, masked_result
from agent_factory.settings import Settings

VALUE = 'v"9f8e/7d6c+5b4a&<x>'
KEYS = [
    "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "af_abcdefghij12_abcdefghijklmnopqrstuvwxyz0123456789-_abcde",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----",
]


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        quote(VALUE, safe=""),
        json.dumps(VALUE)[1:-1],
        base64.b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("="),
        VALUE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;"),
    ],
)
def test_a_value_is_masked_in_every_form_that_it_may_come_back_in(form: str) -> None:
    shown = without(f"it says {form} here", [VALUE])
    assert shown == f"it says {MASK} here"


@given(st.text(min_size=6), st.text(), st.text())
def test_no_value_is_left_whatever_is_around_it(value: str, before: str, after: str) -> None:
    assert value in MASK or value not in without(before + value + after, [value]).replace(MASK, "")


def test_words_too_short_to_be_a_secret_are_left() -> None:
    assert forms("five5") == []
    assert without("five5", ["five5"]) == "five5"


@pytest.mark.parametrize("key", KEYS)
def test_what_looks_like_a_key_is_masked(key: str) -> None:
    assert masked_keys(f"with {key} in it") == f"with {MASK} in it"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:pa55word@db/x", f"postgresql://{MASK}@db/x"),
        ("redis://:pa55word@cache:6379/0", f"redis://{MASK}@cache:6379/0"),
        ("https://example.com/a:b@c", "https://example.com/a:b@c"),
        ("the ask-me-anything-tomorrow page", "the ask-me-anything-tomorrow page"),
        ("Basic arithmetic is easy", "Basic arithmetic is easy"),
    ],
)
def test_passwords_of_urls_are_masked_and_words_are_not(text: str, shown: str) -> None:
    assert masked_keys(text) == shown


def test_logs_also_mask_what_follows_the_word_bearer() -> None:
    assert masked_credentials("Authorization: Bearer abcdefgh12345") == f"Authorization: {MASK}"


@pytest.mark.parametrize(
    "text", ["-----BEGIN " * 20_000, "://" * 60_000, "sk-" * 60_000, "a" * 200_000, "Bearer " * 30_000]
)
def test_no_text_makes_masking_slow(text: str) -> None:
    started = time.process_time()
    masked_credentials(text)
    assert time.process_time() - started < 2, "it is not linear in the length of its text"


class TestRedactor:
    def test_an_organisations_values_are_masked_in_its_own_texts_alone(self) -> None:
        redactor = Redactor()
        redactor.learn("one", "ordinary word")
        assert redactor.text("an ordinary word", "one") == f"an {MASK}"
        assert redactor.text("an ordinary word", "other") == "an ordinary word"
        assert redactor.text("an ordinary word") == "an ordinary word"

    def test_logs_know_every_organisations_values(self) -> None:
        redactor = Redactor()
        redactor.learn("one", "first-value")
        redactor.learn("other", "second-value")
        assert redactor.logged("first-value, second-value") == f"{MASK}, {MASK}"

    def test_the_operators_values_are_masked_everywhere(self) -> None:
        redactor = Redactor(["operators-value"])
        assert redactor.text("operators-value", "one") == MASK
        assert redactor.document({"a": ["operators-value", 1]}) == {"a": [MASK, 1]}

    def test_values_are_forgotten_in_time(self) -> None:
        redactor = Redactor(seconds=0.01)
        redactor.learn("one", "first-value")
        assert redactor.knows("one")
        time.sleep(0.02)
        assert not redactor.knows("one")
        assert redactor.logged("first-value") == "first-value"

    def test_a_document_is_masked_in_its_names_and_depths(self) -> None:
        redactor = Redactor()
        redactor.learn("one", VALUE)
        document: dict[str, Any] = {VALUE: [{"deep": (f"x{VALUE}", None, True, 1.5)}]}
        assert redactor.document(document, "one") == {MASK: [{"deep": [f"x{MASK}", None, True, 1.5]}]}

    def test_an_errors_words_are_masked_where_they_stand(self) -> None:
        redactor = Redactor()
        redactor.learn("one", VALUE)
        problem = Invalid(f"bad {VALUE}", errors=[FieldError(f"/{VALUE}", f"{VALUE} and {KEYS[0]}")])
        redactor.cleanse(problem, "one")
        assert VALUE not in str(problem) + str(problem.as_dict())
        assert KEYS[0] not in str(problem.as_dict())


class TestPrompts:
    def test_every_part_that_a_model_reads_is_masked(self) -> None:
        redactor = Redactor()
        redactor.learn("one", "first-value")
        said = [
            Message("user", (Text("it is first-value"),)),
            Message("assistant", (Reasoning("hm"), ToolCall("1", "t", '{"a": "first-value"}'))),
            Message("tool", (ToolResult("1", "t", "got first-value"),)),
        ]
        shown = masked_messages(redactor, "one", said)
        assert "first-value" not in str(shown)
        assert [m.role for m in shown] == ["user", "assistant", "tool"]
        assert masked_messages(redactor, "other", said) == tuple(said)

    def test_what_a_tool_gives_is_masked_even_if_nobody_knew_the_key(self) -> None:
        assert masked_result(Redactor(), "one", f"here: {KEYS[1]}") == f"here: {MASK}"


def test_what_the_settings_keep_secret_is_known_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `SecretStr`, however deep, and the passwords of URLs."""
    monkeypatch.setenv("OPENAI_API_KEY", "canary-openai")
    monkeypatch.setenv("AF_DATABASE__URL", "postgresql://u:canary-dsn@h/d")
    monkeypatch.setenv(
        "AF_TOOLS__SECRETS", '{"A": "canary-plain", "B": {"value": "canary-object", "organizations": ["*"]}}'
    )
    monkeypatch.setenv("AF_TOOLS__DATABASES", '{"d": "postgresql://u:canary-tool-dsn@h/d"}')
    monkeypatch.setenv("AF_TOOLS__MCP_SERVERS", '{"m": {"command": "x", "env": {"T": "canary-mcp"}}}')
    monkeypatch.setenv("AF_MODELS__ENDPOINTS", '{"e": {"url": "http://h/v1", "api_key": "canary-endpoint"}}')
    monkeypatch.setenv("AF_STORAGE__OPTIONS", '{"secret": "canary-storage"}')
    found = set(secret_values(Settings()))
    wanted = "openai dsn plain object tool-dsn mcp endpoint storage"
    assert {f"canary-{name}" for name in wanted.split()} <= found


def test_settings_show_no_secret_when_they_are_printed() -> None:
    class Group(pydantic.BaseModel):
        inner: list[pydantic.SecretStr]

    assert list(secret_values(Group(inner=[pydantic.SecretStr("a-value")]))) == ["a-value"]
    assert "a-value" not in repr(Group(inner=[pydantic.SecretStr("a-value")]))
