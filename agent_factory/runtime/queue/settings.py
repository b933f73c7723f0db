"""How much a worker does at once, and how long runs are kept."""

from pydantic import BaseModel, ConfigDict, Field


class QueueSettings(BaseModel):
    """The queue of workflow runs; times in seconds.

    A process holds up to `runs` runs at once, and up to `guests` more of
    organisations that it holds none of, so that nobody waits for others' runs
    to end. `tasks` of them do something at the same moment.
    `organization_runs` is how many runs of one organisation are at work at
    once, over all processes. A process that has not beaten for `lease` loses
    its runs. A run whose workers died `attempts` times without getting further
    has failed. Runs are kept `retention_days`, counted from the month in which
    they began; 0 keeps them for ever. A process that stops lets its runs end for
    `grace`, then hands them over. With `worker`, the server works on runs, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker: bool = True
    runs: int = Field(default=100, ge=1, le=10_000)
    guests: int = Field(default=100, ge=1, le=10_000)
    tasks: int = Field(default=100, ge=1, le=10_000)
    organization_runs: int = Field(default=100, ge=1)
    poll: float = Field(default=1.0, gt=0)
    lease: float = Field(default=10.0, gt=0)
    beat: float = Field(default=2.0, gt=0)
    attempts: int = Field(default=10, ge=1)
    patience: float = Field(default=10.0, gt=0)
    grace: float = Field(default=5.0, ge=0)
    retention_days: int = Field(default=90, ge=0)
