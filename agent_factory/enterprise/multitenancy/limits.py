"""Limits: what is counted, for whom, and how long."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from uuid import UUID

import msgspec

from agent_factory.enterprise.multitenancy.settings import QuotaSettings
from agent_factory.kit.errors import FieldError, Invalid

MOST = Decimal(10**15)
"""More than this of anything is a mistake."""

NOBODY = UUID(int=0)
"""Stands in usage where no agent, or no key, used anything."""

FOREVER = datetime(1970, 1, 1, tzinfo=UTC)
"""When the period of a limit began that never starts again."""


class Metric(StrEnum):
    """What is counted."""

    RUNS = "runs"
    TOKENS = "tokens"
    USD = "usd"
    TOOL_CALLS = "tool_calls"
    STORAGE = "storage_bytes"
    SEATS = "seats"


class Period(StrEnum):
    """How long a limit counts before it starts again; days and months are those of UTC."""

    RUN = "run"
    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Subject(StrEnum):
    """For whom a budget is."""

    ORGANIZATION = "organization"
    AGENT = "agent"
    API_KEY = "api_key"


Amounts = Mapping[Metric, Decimal | int]
"""How much of what."""

QUOTA_PERIODS: Mapping[Metric, Period] = {
    Metric.RUNS: Period.MONTH,
    Metric.TOKENS: Period.MONTH,
    Metric.USD: Period.MONTH,
    Metric.STORAGE: Period.TOTAL,
    Metric.SEATS: Period.TOTAL,
}
"""What quotas there are."""


class Spender(msgspec.Struct, frozen=True, kw_only=True):
    """Who uses something.

    `agents` are the names of the agent at work and of those that called it,
    `agent_id` is the one whose run it is.
    """

    organization_id: UUID
    run_id: UUID | None = None
    agents: tuple[str, ...] = ()
    agent_id: UUID | None = None
    key_id: UUID | None = None


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of an organisation: a quota without a `budget_id`, else a budget.

    An agent's budget holds wherever the agent works: in runs of its own, in
    workflows, and below other agents, whichever of its `names` the version at
    work has; a key's holds for all `keys` that were made with it.
    """

    metric: Metric
    period: Period
    amount: Decimal
    budget_id: UUID | None = None
    agent: str | None = None
    agent_id: UUID | None = None
    names: frozenset[str] = frozenset()
    key_id: UUID | None = None
    keys: frozenset[UUID] = frozenset()

    def binds(self, spender: Spender) -> bool:
        """Tell whether the limit applies to somebody."""
        if self.agent is not None and self.agent_id != spender.agent_id and self.names.isdisjoint(spender.agents):
            return False
        if self.key_id is not None and spender.key_id not in self.keys:
            return False
        return self.period is not Period.RUN or spender.run_id is not None

    def key(self, spender: Spender) -> str:
        """Name the limit's meter."""
        if self.budget_id is None:
            return quota_key(self.metric)
        if self.period is Period.RUN:
            return f"{budget_key(self.budget_id)}/{spender.run_id}"
        return budget_key(self.budget_id)

    @property
    def words(self) -> str:
        """Say what the limit is, such as "50 USD a month"."""
        unit = _UNITS[self.metric]
        return f"{self.amount.normalize():f} {unit}{_SPANS[self.period]}"


_UNITS = {
    Metric.RUNS: "runs",
    Metric.TOKENS: "tokens",
    Metric.USD: "USD",
    Metric.TOOL_CALLS: "tool calls",
    Metric.STORAGE: "bytes of storage",
    Metric.SEATS: "seats",
}
_SPANS = {Period.RUN: " a run", Period.DAY: " a day", Period.MONTH: " a month", Period.TOTAL: " in all"}


def quota_key(metric: str) -> str:
    """Name the meter of a quota."""
    return f"quota/{metric}"


def budget_key(budget_id: UUID) -> str:
    """Name the meter of a budget; those of single runs begin with it."""
    return f"budget/{budget_id}"


def quotas_of(defaults: QuotaSettings, own: Mapping[str, Decimal | None]) -> dict[Metric, Decimal | None]:
    """Give every quota of an organisation; what its operator set goes over the default, None is without a limit."""
    found: dict[Metric, Decimal | None] = {}
    for metric in QUOTA_PERIODS:
        usual = getattr(defaults, metric.value)
        found[metric] = own[metric] if metric in own else None if usual is None else Decimal(usual)
    return found


def amount(value: Decimal | int | str, pointer: str = "/amount") -> Decimal:
    """Read an amount of anything; what is negative, huge or no number is `Invalid` (abuse 74)."""
    try:
        read = Decimal(value)
    except (InvalidOperation, ValueError):
        read = Decimal("NaN")
    if not read.is_finite() or read < 0 or read > MOST:
        raise Invalid(
            "An amount has to be a number from 0 to 1,000,000,000,000,000.",
            errors=[FieldError(pointer, "not a number from 0 to 10^15")],
        )
    return read
