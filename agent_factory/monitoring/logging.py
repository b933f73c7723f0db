"""JSON logs, one object a line, with secrets masked (S173-S175)."""

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, cast

import orjson
import structlog

from agent_factory.kit.redaction import Redactor, masked_credentials
from agent_factory.kit.spellings import MASK, SHORTEST
from agent_factory.monitoring.settings import LoggingSettings

_SECRET_NAMES = re.compile(
    r"authorization|cookie|passw|secret|token$|api[-_]?key|credential|private[-_]?key|^dsn$", re.IGNORECASE
)


def configure(settings: LoggingSettings, redactor: Redactor | None = None) -> None:
    """Send this process's logs, ours and those of libraries, to standard error as JSON.

    What `redactor` knows to be secret is masked, besides what looks like it.
    """
    mask = (redactor or Redactor()).logged

    def masked(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        return redact(event, mask)

    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        masked,
        # what is added below is ours, and needs no look
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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


def redact(event: Mapping[str, Any], mask: Callable[[str], str] = masked_credentials) -> dict[str, Any]:
    """Mask values under secret names, and secrets inside any text."""
    return {name: MASK if _is_secret(name) else _clean(value, mask) for name, value in event.items()}


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


def _clean(value: object, mask: Callable[[str], str]) -> Any:  # noqa: ANN401 - log values are of any type
    if isinstance(value, str):
        return mask(value) if len(value) >= SHORTEST else value
    if isinstance(value, Mapping):
        members = cast("Mapping[object, Any]", value)
        return redact({str(name): member for name, member in members.items()}, mask)
    if isinstance(value, list | tuple):
        return [_clean(item, mask) for item in cast("list[Any]", value)]
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask(str(value))


def _json(event: object, **_options: object) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)


def _text(event: object, **_options: object) -> str:
    return _json(event).decode()
