"""How schedules are looked after."""

from pydantic import BaseModel, ConfigDict, Field


class SchedulerSettings(BaseModel):
    """The loop that fires schedules; times in seconds.

    It looks every `poll`, or when the next tick is due. A tick that nobody
    fired within `grace` has been missed, and its trigger says what follows.
    With `enabled` false this process fires nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    poll: float = Field(default=1.0, gt=0)
    grace: float = Field(default=60.0, ge=0)
    at_once: int = Field(default=50, ge=1, le=1000)
