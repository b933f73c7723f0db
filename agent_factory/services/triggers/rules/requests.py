"""What a webhook's request becomes: the input of a run, and the key by which a repetition is known."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec
import orjson

from agent_factory.services.triggers.errors import WebhookMalformed, WebhookUnreadable
from agent_factory.services.triggers.rules.configs import Signature, WebhookConfig

_PASSED_ON = frozenset(
    {
        "content-type",
        "user-agent",
        "webhook-id",
        "webhook-timestamp",
        "x-request-id",
        "traceparent",
        "x-github-event",
        "x-github-delivery",
        "x-gitlab-event",
        "x-event-key",
        "x-event-type",
        "ce-id",
        "ce-source",
        "ce-type",
        "ce-time",
    }
)
"""Headers that every run gets to see; they say what happened, and hold no credentials."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_MOST_FIELDS = 1000
_LONGEST_HEADER = 2000


class Call(msgspec.Struct, frozen=True):
    """A request as it came; names of headers are lower case, and a name that comes twice is its first value."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def media(self) -> str:
        """The type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def document(call: Call, config: WebhookConfig, body: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Give a run's input.

    It is `{body, headers, query, method}`, with the fields of a body that is an
    object beside these, so that `input.message` and `input.body.message` are
    the same.
    """
    if config.input == "body":
        return body
    wanted = _PASSED_ON.union(config.headers)
    request: dict[str, Any] = {
        "body": body,
        "headers": {name: value[:_LONGEST_HEADER] for name, value in call.headers.items() if name in wanted},
        "query": _query(call),
        "method": call.method,
    }
    return {**cast("dict[str, Any]", body), **request} if isinstance(body, dict) else request


def content_of(call: Call) -> bytes:
    """Name what a request says: the same for its repetitions, however long they wait for the answer."""
    return hashlib.sha256(msgspec.json.encode((call.method, _query(call))) + call.body).digest()


def _query(call: Call) -> dict[str, str | list[str]]:
    return {name: value for name, value in fields(call.query.encode("latin-1")).items() if name != "wait"}


def read_body(call: Call) -> Any:  # noqa: ANN401 - any JSON value
    """Read a body as its type says: JSON, a form, or text; null where there is none.

    Raises `WebhookMalformed` or `WebhookUnreadable`. JSON was checked at
    the entrance.
    """
    if not call.body:
        return None
    media = call.media
    if media == "application/json" or (media.startswith("application/") and media.endswith("+json")):
        return orjson.loads(call.body)
    if media == "application/x-www-form-urlencoded":
        return fields(call.body)
    if not media or media.startswith("text/") or media == "application/xml" or media.endswith("+xml"):
        return _text(call.body)
    raise WebhookUnreadable("A webhook reads JSON, forms (application/x-www-form-urlencoded) and text.")


def fields(encoded: bytes) -> dict[str, str | list[str]]:
    """Read the fields of a form or a query; one that comes more than once is a list."""
    try:
        pairs = parse_qsl(encoded.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise WebhookMalformed(f"The fields are not percent-encoded UTF-8, or more than {_MOST_FIELDS}.") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise WebhookMalformed("A field holds a NUL character, which no text may have.")
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _text(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise WebhookMalformed("The text is not valid UTF-8.") from None
    if "\0" in text:
        raise WebhookMalformed("The text holds a NUL character, which no text may have.")
    return text


def key_of(call: Call, config: WebhookConfig) -> str | None:
    """Give the name by which a repetition of a request is known; None where it has none."""
    names: Sequence[str] = ("webhook-id", "idempotency-key")
    if config.signature is Signature.GITHUB:
        names = ("x-github-delivery", *names)
    for name in names:
        key = call.headers.get(name)
        if key is not None:
            if not _KEY.fullmatch(key):
                raise WebhookMalformed(f"{name} has 1 to 255 visible ASCII characters.")
            return f"{name} {key}"
    return None
