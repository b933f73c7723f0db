"""What each type of trigger takes as its settings, the same by API and in a workflow's definition (S90, S100)."""

import re
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from agent_factory.core.expressions import compile_expression
from agent_factory.core.schema import refused
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.runtime.scheduler.misfires import Misfire
from agent_factory.runtime.scheduler.zoned import Schedule, read_cron, read_schedule, timezone
from agent_factory.services.triggers.errors import TriggerInvalid

PREFIX = "/webhook/"
"""Where webhooks listen."""

_PATH = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_EVENT = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*(?:\.\*)?|\*")
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
_NEVER = frozenset({"authorization", "proxy-authorization", "cookie", "webhook-signature", "x-hub-signature-256"})


class TriggerType(StrEnum):
    """What a trigger waits for."""

    WEBHOOK = "webhook"
    CRON = "cron"
    EVENT = "event"


class Signature(StrEnum):
    """How a sender signs: by Standard Webhooks, or as GitHub does."""

    STANDARD = "standard"
    GITHUB = "github"


def _path(value: str) -> str:
    path = value.removeprefix(PREFIX).strip("/")
    if not _PATH.fullmatch(path):
        raise ValueError("a path has letters, digits and ._~- between its slashes, and no part that begins with a dot")
    return path


def _header(value: str) -> str:
    name = value.lower()
    if not _HEADER.fullmatch(name):
        raise ValueError("not the name of a header")
    if name in _NEVER:
        raise ValueError("a run never sees credentials")
    return name


def _event(value: str) -> str:
    if not _EVENT.fullmatch(value):
        raise ValueError("a type of event has words with dots between them; a * at the end stands for any")
    return value


def _expression(value: str) -> str:
    return _said(compile_expression, value)


def _cron(value: str) -> str:
    return _said(read_cron, value)


def _zone(value: str) -> str:
    return _said(timezone, value)


def _said(check: Any, value: str) -> str:  # noqa: ANN401 - any function of a text
    try:
        check(value)
    except Invalid as problem:
        raise ValueError(problem.detail) from None
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WebhookConfig(_Config):
    """A webhook: `path` below /webhook/, unguessable where none is given.

    `signature` asks for signed requests; by Standard Webhooks they are at most
    `tolerance` seconds old. `headers` are passed on beside the usual ones.
    With `input` "body", a run is given the body alone. `respond` "result"
    answers with what the run gave, after at most `wait` seconds. `max_body` is
    in bytes.
    """

    path: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_path)] | None = None
    method: Annotated[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "ANY"], BeforeValidator(_upper)] = "POST"
    signature: Signature | None = None
    tolerance: int = Field(default=300, ge=1, le=3600, strict=True)
    headers: tuple[Annotated[str, AfterValidator(_header)], ...] = Field(default=(), max_length=50)
    input: Literal["request", "body"] = "request"
    respond: Literal["accepted", "result"] = "accepted"
    wait: float = Field(default=30, ge=0, le=60, allow_inf_nan=False)
    max_body: int = Field(default=1_048_576, ge=1, le=10_485_760, strict=True)


class CronConfig(_Config):
    """A schedule: a `cron` expression on the clocks of a `timezone`.

    `misfire` says what becomes of ticks at which nothing ran. `jitter` moves
    all ticks by the same part of so many seconds. A run is given `input`, or
    `{"scheduled_at": …}`.
    """

    cron: Annotated[str, AfterValidator(_cron)]
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    misfire: Misfire = Misfire.ONCE
    jitter: int = Field(default=0, ge=0, le=3600, strict=True)
    input: Any = None

    def schedule(self) -> Schedule:
        """Give the schedule."""
        return read_schedule(self.cron, self.timezone)


class EventConfig(_Config):
    """Events of a type: `order.paid`, `order.*` or `*`, where `match` holds of them.

    `match` is an expression over `event`, the event's data, and `type`. Events
    that a workflow itself has told start it only with `own`.
    """

    event: Annotated[str, StringConstraints(max_length=200), AfterValidator(_event)]
    match: Annotated[str, AfterValidator(_expression)] | None = None
    own: bool = Field(default=False, strict=True)


Config = WebhookConfig | CronConfig | EventConfig
CONFIGS: Mapping[TriggerType, type[Config]] = {
    TriggerType.WEBHOOK: WebhookConfig,
    TriggerType.CRON: CronConfig,
    TriggerType.EVENT: EventConfig,
}


def read_config(kind: TriggerType, config: object, at: str = "/config") -> Config:
    """Read a trigger's settings; raises `TriggerInvalid` with pointers below `at`."""
    try:
        return CONFIGS[kind].model_validate(config)
    except pydantic.ValidationError as error:
        faults = refused(error, at=at).errors
        raise TriggerInvalid(f"{len(faults)} fault(s) in the trigger's settings.", errors=faults) from None


def declared(kind: str, config: Mapping[str, Any]) -> tuple[TriggerType, Config] | None:
    """Read the trigger of a workflow's definition; None where people start it. Raises `TriggerInvalid`.

    A message in a queue is the event `queue.<name>`: whoever tells it, by an
    `emit` task for example, puts it there.
    """
    if kind == "manual":
        return None
    if kind == "queue":
        fields = dict(config)
        name = fields.pop("queue", None)
        if not isinstance(name, str):
            fault = FieldError("/trigger/config/queue", "the name of a queue is needed")
            raise TriggerInvalid("1 fault(s) in the trigger's settings.", errors=[fault])
        kind, config = "event", {"event": f"queue.{name}", **fields}
    found = TriggerType(kind)
    return found, read_config(found, config, "/trigger/config")


def new_path() -> str:
    """Make a path that nobody guesses."""
    return secrets.token_urlsafe(24).replace("-", "~")


def heard_as(event_type: str) -> list[str]:
    """List the types by which triggers hear of an event: its own, and those with a star."""
    parts = event_type.split(".")
    return [event_type, *(".".join([*parts[:n], "*"]) for n in range(len(parts) - 1, -1, -1))]
