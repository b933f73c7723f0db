"""How the HTTP server listens and what it takes."""

from pydantic import BaseModel, ConfigDict, Field


class ServerSettings(BaseModel):
    """Where the server listens, and its limits for one request.

    `max_body` is in bytes, `request_timeout` in seconds; a stream may last
    longer. `hosts` are the names that it answers to; empty means any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    workers: int = Field(default=1, ge=1, le=256)
    max_body: int = Field(default=1_048_576, ge=1024)
    request_timeout: float = Field(default=600.0, gt=0)
    hosts: tuple[str, ...] = ()
