"""JSON logs, one object a line, with secrets masked (S173-S175)."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, cast

import orjson
import structlog

from agent_factory.monitoring.settings import LoggingSettings

_SECRET_NAMES = re.compile(
    r"authorization|cookie|passw|secret|token$|api[-_]?key|credential|private[-_]?key|^dsn$", re.IGNORECASE
)
_SECRET_VALUES = re.compile(
    r"\baf_[0-9a-z]{12}_[A-Za-z0-9_-]{20,}|\bsk-[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{16,}"
    r"|\bBearer +[A-Za-z0-9._~+/=-]{8,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
_SHORTEST_SECRET = 8
"""Characters; no pattern above matches less."""
_MASK = "[redacted]"


def configure(settings: LoggingSettings) -> None:
    """Send this process's logs, ours and those of libraries, to standard error as JSON."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_text),
            ],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Mask values under secret names, and keys and tokens inside any text."""
    return {name: _MASK if _is_secret(name) else _clean(value) for name, value in event.items()}


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


def _clean(value: object) -> Any:  # noqa: ANN401 - log values are of any type
    if isinstance(value, str):
        return _SECRET_VALUES.sub(_MASK, value) if len(value) >= _SHORTEST_SECRET else value
    if isinstance(value, Mapping):
        members = cast("Mapping[object, Any]", value)
        return redact(None, "", {str(name): member for name, member in members.items()})
    if isinstance(value, list | tuple):
        return [_clean(item) for item in cast("list[Any]", value)]
    return value


def _json(event: object, **_options: object) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)


def _text(event: object, **_options: object) -> str:
    return _json(event).decode()
