"""How Redis is reached."""

from pydantic import BaseModel, ConfigDict, Field


class RedisSettings(BaseModel):
    """Where Redis is, and how patient we are with it, in seconds; without `url`, PostgreSQL does its work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(default=None, repr=False, pattern=r"^(rediss?|unix)://")
    connect_timeout: float = Field(default=1.0, gt=0)
    timeout: float = Field(default=0.5, gt=0)
