"""How the database is reached."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator


class DatabaseSettings(BaseModel):
    """Where PostgreSQL is and how patient we are with it; times in seconds.

    Without `url` the embedded PostgreSQL runs, with its data in
    `<data_dir>/postgres`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(default=None, repr=False)
    data_dir: Path = Path(".data")
    pool_size: int = Field(default=10, le=1000)
    """Connections for requests, and as many again for the engine's statements; two at least."""
    connect_timeout: float = Field(default=5.0, gt=0)
    pool_timeout: float = Field(default=10.0, gt=0)
    statement_timeout: float = Field(default=30.0, gt=0)
    lock_timeout: float = Field(default=10.0, gt=0)
    idle_in_transaction_timeout: float = Field(default=60.0, gt=0)

    @field_validator("pool_size")
    @classmethod
    def _enough(cls, value: int) -> int:
        if value < 2:  # noqa: PLR2004 - one for each
            raise ValueError("at least 2 are needed: the scheduler holds one while it asks something by another")
        return value
