"""What a budget may say, when its period began, and the cursor of usage."""

import base64
import binascii
import re
from collections.abc import Collection
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import msgspec

from agent_factory.enterprise.multitenancy.limits import FOREVER, Metric, Period, Subject
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.services.billing.errors import BudgetInvalid

BUDGETED = (Metric.USD, Metric.TOKENS, Metric.TOOL_CALLS, Metric.RUNS)
"""What budgets are about."""

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Dimension(StrEnum):
    """By what usage is told apart, beside the day."""

    AGENT = "agent"
    KEY = "key"
    MODEL = "model"


class Span(msgspec.Struct, frozen=True):
    """What usage is asked for: the days from one to another, told apart by some dimensions."""

    first: date
    last: date
    by: Collection[Dimension] = ()


class Place(msgspec.Struct, frozen=True):
    """Where a page of usage ended."""

    day: date
    agent_id: UUID
    key_id: UUID
    model: str


def check_budget(metric: Metric, period: Period, amount: Decimal) -> None:
    """Raise `BudgetInvalid` for a budget that could not count anything."""
    if metric is Metric.RUNS and period is Period.RUN:
        fault = FieldError("/period", "a run is always one run; choose day, month or total")
        raise BudgetInvalid("A budget of runs needs a longer period.", errors=[fault])
    if metric is not Metric.USD and amount != amount.to_integral_value():
        raise BudgetInvalid("Only money comes in parts.", errors=[FieldError("/amount", "has to be a whole number")])


def subject_of(agent_id: UUID | None, key_id: UUID | None) -> Subject:
    """Tell for whom a budget is; raises `BudgetInvalid` for more than one."""
    if agent_id is not None and key_id is not None:
        fault = FieldError("/key_id", "leave it out, or leave agent_id out")
        raise BudgetInvalid("A budget is for one agent or for one key.", errors=[fault])
    if agent_id is not None:
        return Subject.AGENT
    return Subject.ORGANIZATION if key_id is None else Subject.API_KEY


def began(period: Period, moment: datetime) -> datetime:
    """Give when the period began that holds a moment (UTC)."""
    today = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.DAY:
        return today
    return today.replace(day=1) if period is Period.MONTH else FOREVER


def resets(period: Period, moment: datetime) -> datetime | None:
    """Give when the period ends that holds a moment (UTC); None for one that has no such end."""
    start = began(period, moment)
    if period is Period.DAY:
        return start + timedelta(days=1)
    return (start + timedelta(days=32)).replace(day=1) if period is Period.MONTH else None


def read_day(text: object) -> date:
    """Read a day such as 2026-11-21; raises `ValueError` for any other form."""
    if not isinstance(text, str) or not _DAY.fullmatch(text):
        raise ValueError("has to be a day such as 2026-11-21")
    return date.fromisoformat(text)


def write_place(place: Place) -> str:
    """Make the opaque cursor that continues after a row of usage."""
    packed = msgspec.json.encode([place.day, place.agent_id.hex, place.key_id.hex, place.model])
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_place(cursor: str | None) -> Place | None:
    """Read a cursor; raises `Invalid` for a broken one."""
    if cursor is None:
        return None
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        day, agent_id, key_id, model = msgspec.json.decode(packed, type=tuple[date, str, str, str])
        return Place(day, UUID(hex=agent_id), UUID(hex=key_id), model)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise Invalid(
            "The cursor is not one of ours; leave it out to start at the first page.",
            errors=[FieldError("/cursor", "not a cursor")],
        ) from None
