"""What every organisation may use that its operator has set nothing else for."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

_MOST = 10**15


class QuotaSettings(BaseModel):
    """The quotas of organisations without ones of their own; what is absent has no limit.

    `runs`, `tokens` and `usd` are for each month (UTC). `storage_bytes` are
    those of large values, `seats` are people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: int | None = Field(default=None, ge=0, le=_MOST)
    tokens: int | None = Field(default=None, ge=0, le=_MOST)
    usd: Decimal | None = Field(default=None, ge=0, le=_MOST, allow_inf_nan=False)
    storage_bytes: int | None = Field(default=None, ge=0, le=_MOST)
    seats: int | None = Field(default=None, ge=0, le=_MOST)


class LifeSettings(BaseModel):
    """The end of organisations: `purge_days` after its deletion one is removed for good, and cannot be restored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purge_days: int = Field(default=30, ge=1, le=3650)
