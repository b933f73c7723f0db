"""What is to be run, what came of it, and what a tier is."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from agent_factory.core.task import CodeLimits

Tier = Literal["snippet", "sandbox", "container", "kubernetes"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a user's code, with all that it may see and use.

    The code reads `inputs`; what it assigns to `result` is its output, both
    JSON. `key` names the task that it belongs to, so that a second try of the
    task can end what an interrupted first try left behind.
    """

    code: str
    inputs: Mapping[str, Any] = {}
    language: Literal["python"] = "python"
    tier: Literal["auto", "snippet", "sandbox", "container", "kubernetes"] = "auto"
    image: str | None = None
    environment: Mapping[str, str] = {}
    network: Literal["none", "full"] = "none"
    limits: CodeLimits = CodeLimits()
    key: str = ""
    organization_id: str = ""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended well: its result, what it printed, and what it used; memory in bytes.

    `cpu_seconds` and `peak_memory` are null where the tier cannot measure them.
    """

    result: Any
    stdout: str
    stderr: str
    tier: Tier
    duration_ms: int
    cpu_seconds: float | None
    peak_memory: int | None


class TierStatus(msgspec.Struct, frozen=True):
    """Whether a tier can run code here; `hint` says what is missing, or what holds with less than full limits."""

    name: Tier
    available: bool
    hint: str


class Runner(Protocol):
    """One tier."""

    async def status(self) -> TierStatus:
        """Tell whether it can run code here and now."""
        ...

    async def run(self, job: Job) -> Done:
        """Run a job within its limits; raises the problems of `errors`."""
        ...

    async def close(self) -> None:
        """End what it keeps running."""
        ...
