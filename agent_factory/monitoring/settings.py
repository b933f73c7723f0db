"""What the process says about itself."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LoggingSettings(BaseModel):
    """How the process logs: lowest level, and whether each request has its line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning", "error"] = "info"
    requests: bool = True


class MetricsSettings(BaseModel):
    """Where a process without an API of its own, `agent-factory worker`, gives its metrics; without `port` nowhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535)
