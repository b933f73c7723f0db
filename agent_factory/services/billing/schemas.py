"""What travels about quotas, budgets and usage."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, Moment, Output
from agent_factory.enterprise.multitenancy.limits import MOST, Metric, Period, Subject
from agent_factory.services.billing.rules import read_day

BudgetId = Annotated[UUID, Id("bgt")]
AgentId = Annotated[UUID, Id("agt")]
KeyId = Annotated[UUID, Id("key")]

Amount = Annotated[Decimal, Field(ge=0, le=MOST, max_digits=24, decimal_places=8, allow_inf_nan=False)]
Decimals = Annotated[
    Decimal,
    PlainSerializer(lambda value: f"{value.normalize():f}", return_type=str),
    WithJsonSchema({"type": "string", "description": "A decimal number."}),
]

Day = Annotated[date, BeforeValidator(read_day), WithJsonSchema({"type": "string", "format": "date"})]
"""A day, written as RFC 3339 has it and in no other way."""

BudgetMetric = Literal[Metric.USD, Metric.TOKENS, Metric.TOOL_CALLS, Metric.RUNS]


class BudgetCreate(Input):
    """A budget to be set: for one agent, for one API key, or for the whole organisation."""

    agent_id: AgentId | None = None
    key_id: KeyId | None = None
    metric: BudgetMetric = Field(description="What is counted; money is in USD.")
    period: Period = Field(description="How long it counts before it starts again; days and months are those of UTC.")
    amount: Amount


class BudgetPatch(Input):
    """What may be changed."""

    amount: Amount


class BudgetOut(Output):
    """A budget; `used`, `held` and `left` are those of the present period, null for each run's own."""

    id: BudgetId
    subject: Subject
    agent_id: AgentId | None
    key_id: KeyId | None
    metric: Metric
    period: Period
    amount: Decimals
    used: Decimals | None
    held: Decimals | None
    left: Decimals | None
    resets_at: Moment | None
    created_at: Moment
    updated_at: Moment


class BudgetPage(PageOf[BudgetOut]):
    """A page of budgets."""


class QuotaOut(Output):
    """A quota of the organisation's plan; without an `amount`, nothing limits it."""

    metric: Metric
    period: Period
    amount: Decimals | None
    used: Decimals
    held: Decimals
    left: Decimals | None
    resets_at: Moment | None


class QuotaList(Output):
    """Every quota."""

    data: list[QuotaOut]


class UsageOut(Output):
    """What was used on a day.

    An answer that never came, because its process died or its caller left, is
    counted as `unconfirmed` where a limit applies: with the most that it may have used.
    """

    day: date
    agent_id: AgentId | None
    key_id: KeyId | None
    model: str | None
    runs: int
    calls: int
    unconfirmed: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimals | None


class UsagePage(PageOf[UsageOut]):
    """A page of usage, newest day first."""
