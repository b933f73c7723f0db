"""What a turn has used, held against what it may use."""

import time
from decimal import Decimal

from agent_factory.core.agent import Limits
from agent_factory.core.model import Usage
from agent_factory.kit.errors import Kind, Problem
from agent_factory.kit.money import usd


class StepLimitExceeded(Problem):
    """The model asked for another round too often."""

    kind = Kind.BUDGET
    code = "step_limit_exceeded"
    title = "The turn reached its limit of steps"


class TokenLimitExceeded(Problem):
    """The turn used its tokens up."""

    kind = Kind.BUDGET
    code = "token_limit_exceeded"
    title = "The turn reached its limit of tokens"


class ToolCallLimitExceeded(Problem):
    """The model asked for too many tool calls."""

    kind = Kind.BUDGET
    code = "tool_call_limit_exceeded"
    title = "The turn reached its limit of tool calls"


class CostLimitExceeded(Problem):
    """The turn used its money up."""

    kind = Kind.BUDGET
    code = "cost_limit_exceeded"
    title = "The turn reached its limit of money"


class TimeLimitExceeded(Problem):
    """The turn took too long."""

    kind = Kind.TIMEOUT
    code = "time_limit_exceeded"
    title = "The turn reached its limit of time"


class Meter:
    """Counts steps, tokens, tool calls, money and seconds of one turn with all agents below it.

    What an agent below uses counts `above` at once, and stops where either of
    them has no more tokens or money; its steps and calls are its own.
    """

    def __init__(self, limits: Limits, above: "Meter | None" = None) -> None:
        """Start counting now."""
        self._limits = limits
        self._above = above
        self._deadline = time.monotonic() + limits.seconds
        self._steps = 0
        self._calls = 0
        self.usage = Usage()
        self.cost: Decimal | None = None

    @property
    def seconds_left(self) -> float:
        """Seconds until the turn's time is up; never negative."""
        return max(0.0, self._deadline - time.monotonic())

    @property
    def tokens_left(self) -> int | None:
        """Tokens that may still be used, or `None` without a limit."""
        limit, above = self._limits.tokens, self._above and self._above.tokens_left
        own = None if limit is None else max(0, limit - self.usage.total_tokens)
        return own if above is None else above if own is None else min(own, above)

    @property
    def cost_usd(self) -> str | None:
        """The money used so far, where any price was known."""
        return None if self.cost is None else usd(self.cost)

    def begin_step(self) -> None:
        """Count one more model call, or raise what forbids it."""
        limits = self._limits
        if self._steps >= limits.steps:
            raise StepLimitExceeded(f"{limits.steps} model calls were made without a final answer; see `limits.steps`.")
        self._check_used()
        self._steps += 1

    def _check_used(self) -> None:
        if self._above is not None:
            self._above._check_used()  # noqa: SLF001 - its own class
        limits = self._limits
        if limits.tokens is not None and self.usage.total_tokens >= limits.tokens:
            raise TokenLimitExceeded(
                f"{self.usage.total_tokens} of {limits.tokens} tokens are used; see `limits.tokens`."
            )
        if limits.usd is not None and self.cost is not None and self.cost >= limits.usd:
            raise CostLimitExceeded(f"{usd(self.cost)} of {limits.usd} USD are used; see `limits.usd`.")

    def begin_calls(self, count: int) -> None:
        """Count some tool calls, or raise."""
        if self._calls + count > self._limits.tool_calls:
            raise ToolCallLimitExceeded(
                f"The model asked for more than {self._limits.tool_calls} tool calls; see `limits.tool_calls`."
            )
        self._calls += count

    def add(self, usage: Usage, cost: Decimal | None) -> None:
        """Count what a model call used; an unknown price counts no money."""
        self.usage += usage
        if cost is not None:
            self.cost = cost + (self.cost or 0)
        if self._above is not None:
            self._above.add(usage, cost)
