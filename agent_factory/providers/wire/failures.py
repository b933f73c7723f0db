"""What a vendor's refusal means: one `ModelError` for every status and error body."""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast

import orjson

from agent_factory.core.model import (
    ContentFiltered,
    ContextExceeded,
    ModelAuthFailed,
    ModelError,
    ModelProtocolError,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
)
from agent_factory.kit.clock import now
from agent_factory.security.egress import EgressBlocked, EgressTimeout, EgressTooLarge, EgressUnreachable

_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)|prompt is too long|input is too long|max_model_len"
    r"|too many (?:input )?tokens|maximum (?:number of )?(?:input )?tokens|input length and `max_tokens` exceed",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content[ _-]?filter|content management policy|moderation", re.IGNORECASE)
_STATUS_OF_TYPE = {
    "overloaded_error": 529,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "timeout_error": 408,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "too_many_requests": 429,
    "insufficient_quota": 429,
    "authentication_error": 401,
    "permission_error": 403,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "request_too_large": 413,
    "exceed_context_size_error": 400,
}


def failure(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> ModelError:
    """Make the error for an answer that is no success; `headers` in lower case."""
    return _make(provider, status, headers, *_words(body))


def stream_failure(provider: str, error: object) -> ModelError:
    """Make the error for one that came inside a stream, where no status tells it."""
    message, codes = _of_error(error)
    status = next((int(c) for c in codes if c.isdigit() and 400 <= int(c) < 600), 0)  # noqa: PLR2004 - HTTP errors
    status = status or next((_STATUS_OF_TYPE[c] for c in codes if c in _STATUS_OF_TYPE), 500)
    return _make(provider, status, {}, message, codes)


def no_answer(provider: str, error: Exception) -> ModelError:
    """Turn what the outgoing client raised into the model error that it is here."""
    detail = f"{provider}: {error}"
    if isinstance(error, EgressTimeout):
        return ModelTimeout(detail)
    if isinstance(error, EgressTooLarge):
        return ModelProtocolError(detail)
    if isinstance(error, EgressBlocked):
        return ModelRejected(detail)
    unavailable = ModelUnavailable(detail)
    unavailable.begun = not isinstance(error, EgressUnreachable)
    return unavailable


def _make(provider: str, status: int, headers: Mapping[str, str], message: str, codes: list[str]) -> ModelError:
    said = f"{provider} answered {status}: {message}" if message else f"{provider} answered {status}."
    kind: type[ModelError] = ModelRejected
    if status in (401, 403):
        kind = ModelAuthFailed
        said = f"{provider} refused the credentials ({status}); check its API key and its permissions."
    elif status == 429:  # noqa: PLR2004 - HTTP
        kind = ModelRateLimited
    elif status in (408, 504):
        kind = ModelTimeout
    elif status >= 500 or status in (409, 425):  # noqa: PLR2004 - HTTP
        kind = ModelUnavailable
    elif status < 400:  # noqa: PLR2004 - HTTP
        said = f"{provider} answered {status}, which is no answer of a model; check its base URL."
    elif _TOO_LONG.search(" ".join((*codes, message))):
        kind = ContextExceeded
    elif _FILTERED.search(" ".join(codes)):
        kind = ContentFiltered
    return kind(said, retry_after=_retry_after(headers) if kind.retryable else None)


def _words(body: bytes) -> tuple[str, list[str]]:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", []
    if isinstance(document, list) and document:  # Google wraps its error in a list
        document = cast("list[Any]", document)[0]
    if not isinstance(document, dict):
        return "", []
    found = cast("dict[str, Any]", document)
    return _of_error(found.get("error") or found)


def _of_error(error: object) -> tuple[str, list[str]]:
    if not isinstance(error, dict):
        return str(error)[:500], []
    found = cast("dict[str, Any]", error)
    message = found.get("message") or found.get("detail") or ""
    text = message if isinstance(message, str) else orjson.dumps(message).decode()
    codes = [str(found[k]) for k in ("code", "type", "status") if found.get(k) is not None]
    return text[:500], codes


def _retry_after(headers: Mapping[str, str]) -> float | None:
    exact = _number(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        return max(0.0, (parsedate_to_datetime(value) - now()).total_seconds())
    except (ValueError, TypeError):
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
