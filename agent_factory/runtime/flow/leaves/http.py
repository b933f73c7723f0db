"""One HTTP request through the guard, with an idempotency key and its answer as data."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, cast

import orjson
import yarl

from agent_factory.core.task import Http
from agent_factory.kit.clock import now
from agent_factory.kit.errors import FieldError, Invalid, Kind, Problem
from agent_factory.kit.redaction import without
from agent_factory.runtime.flow.context import TaskCall
from agent_factory.runtime.flow.leaves.reach import key_of, tool_context
from agent_factory.security.egress import Answer
from agent_factory.security.outgoing import (
    BoundSecret,
    credentials,
    guarded,
    host_of,
    merged_headers,
)

_SECONDS = 60.0
"""The whole exchange, where the task has no `timeout`."""

_KEY = "Idempotency-Key"
_PASSING = frozenset({408, 425, 429})
_SERVER_ERROR = 500
_LONGEST_PAUSE = 3_600.0
_EXCERPT = 300


class HttpRefused(Problem):
    """An answer with a status that the task does not expect, and that another try would not change."""

    kind = Kind.UPSTREAM
    code = "http_refused"
    title = "The other server refused the request"


class HttpUnavailable(Problem):
    """A server that is broken or busy for now: 5xx, 429, 408 or 425."""

    kind = Kind.UPSTREAM
    code = "http_unavailable"
    title = "The other server cannot answer now"
    retryable = True


async def http(call: TaskCall) -> dict[str, Any]:
    """Make a request; give `{status, headers, body}`.

    `headers` have names in lower case, `body` is a JSON document, a text, or
    null where there is none; what is neither comes as Base64 text, with
    `encoding: base64` beside it. A status outside `expect`, by default 200 to
    299, fails the task. Redirects are answers like others. Every request
    carries `Idempotency-Key: {run_id}/{path}` unless the task sets its own.
    """
    config = cast("Http", call.config)
    if config.json_body is not None and config.body is not None:
        raise Invalid("Send json or body, not both.", errors=[FieldError("/config/body", "json is given too")])
    context = await tool_context(call)
    host_of(config.url, at="/config/url")
    sent = await credentials(_bound(call, config), config.url, context, "http")
    answer = await guarded(context, "http").request(
        config.method,
        str(yarl.URL(config.url).extend_query(_query(config.query) | sent.params)),
        headers=merged_headers(_keyed(call, config.headers), config.headers, sent.headers),
        json=config.json_body,
        body=None if config.body is None else config.body.encode(),
        timeout=call.node.task.timeout or _SECONDS,
        max_bytes=config.max_bytes,
    )
    expected = answer.status in config.expect if config.expect else answer.status // 100 == 2  # noqa: PLR2004 - success
    if not expected:
        raise _problem(answer, sent.values)
    return {
        "status": answer.status,
        "headers": {name: without(value, sent.values) for name, value in answer.headers.items()},
        **_body(answer, sent.values),
    }


def _keyed(call: TaskCall, asked: Mapping[str, str]) -> dict[str, str]:
    """Name the effect, so that a server which knows the header does it once."""
    key = key_of(call)
    return {_KEY: key} if key and all(name.lower() != _KEY.lower() for name in asked) else {}


def _bound(call: TaskCall, config: Http) -> tuple[BoundSecret, ...]:
    """Bind the task's secret to the host that its author wrote, which no run's input can change."""
    if config.secret is None:
        return ()
    written = str(call.node.task.config["url"])
    fixed, braces, _ = written.partition("{{")
    if braces and fixed.count("/") < 3:  # noqa: PLR2004 - the third ends the host
        detail = "with a secret, the URL's host has to be written out, up to the first / behind it"
        raise Invalid("The secret is bound to no host.", errors=[FieldError("/config/url", detail)])
    host = host_of(fixed, at="/config/url")
    use = config.secret
    return (BoundSecret(secret=use.name, host=host, header=use.header, query=use.query, format=use.format),)


def _query(query: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Write values as text: numbers and booleans as in JSON, lists as repeated names, null not at all."""
    return {
        name: [_word(v) for v in cast("list[Any]", value)] if isinstance(value, list) else _word(value)
        for name, value in query.items()
        if value is not None
    }


def _word(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _body(answer: Answer, secrets: Sequence[str]) -> dict[str, Any]:
    if not answer.body:
        return {"body": None}
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        text = without(answer.text, secrets)
        try:
            return {"body": orjson.loads(text)}
        except orjson.JSONDecodeError:
            return {"body": text}
    if b"\0" in answer.body or not (_is_utf8(answer.body) or "charset" in answer.headers.get("content-type", "")):
        return {"body": base64.b64encode(answer.body).decode(), "encoding": "base64"}
    return {"body": without(answer.text, secrets)}


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _problem(answer: Answer, secrets: Sequence[str]) -> Problem:
    text = "" if b"\0" in answer.body else " ".join(without(answer.text, secrets).split())
    detail = f"{yarl.URL(answer.url).host} answered {answer.status}"
    detail += f": {text[:_EXCERPT]}" if text else "."
    if answer.status in _PASSING or answer.status >= _SERVER_ERROR:
        return HttpUnavailable(detail, retry_after=_retry_after(answer.headers.get("retry-after", "")))
    return HttpRefused(detail)


def _retry_after(value: str) -> float | None:
    """Read seconds or a date (RFC 9110), at most an hour."""
    try:
        seconds = (
            float(value) if value.isdigit() else (parsedate_to_datetime(value).astimezone(UTC) - now()).total_seconds()
        )
    except ValueError:
        return None
    return min(max(0.0, seconds), _LONGEST_PAUSE)
