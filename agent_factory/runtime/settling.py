"""What the end of a turn becomes in the database."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from agent_factory.core.event import ApprovalNeeded, TurnCompleted, TurnFailed
from agent_factory.core.guardrail import GuardrailBlocked
from agent_factory.core.journal import Entry
from agent_factory.core.message import Message, user
from agent_factory.core.model import Usage
from agent_factory.runtime.journal import Settle, Status, to_json
from agent_factory.runtime.rows import Output, spent
from agent_factory.runtime.scope import TurnEnd
from agent_factory.runtime.turn import RunCancelled

_BLOCKED = user("[This message was stopped by a guardrail and is not kept.]")


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of work on a run by one process; `seq` is the number of the user's message in the session."""

    id: UUID
    organization_id: UUID
    session_id: UUID | None
    epoch: int
    seq: int
    started_at: datetime


def settlement(
    run: Activation, end: TurnEnd, at: datetime, recorded: Sequence[Entry], rest: Sequence[tuple[int, Entry]]
) -> Settle:
    """Write an end as the row changes that it means; `rest` are the steps that are not committed yet."""
    status, output, usage, cost = _outcome(run, end, recorded)
    failed = end if isinstance(end, TurnFailed) else None
    messages = () if isinstance(end, ApprovalNeeded) else end.messages
    summary = None if isinstance(end, ApprovalNeeded) else end.summary
    return Settle(
        id=run.id,
        organization_id=run.organization_id,
        epoch=run.epoch,
        session_id=run.session_id,
        seq=run.seq,
        status=status,
        output=output,
        error=None if failed is None else to_json(failed.problem),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=cost,
        duration_ms=max(0, int((at - run.started_at).total_seconds() * 1000)),
        at=at,
        messages=messages,
        summary=None if summary is None else to_json(summary),
        entries=rest,
        admitted=admitted(end, recorded),
    )


def admitted(end: TurnEnd, recorded: Sequence[Entry]) -> Message | None:
    """Give what takes the place of the user's message: nothing that a guardrail took out is kept."""
    if isinstance(end, ApprovalNeeded):
        return None
    if end.admitted is not None:
        return end.admitted
    stopped = isinstance(end, TurnFailed) and end.problem.get("code") == GuardrailBlocked.code
    asked = any(entry.kind == "model" for entry in recorded)
    return _BLOCKED if stopped and not asked else None


def _outcome(
    run: Activation, end: TurnEnd, recorded: Sequence[Entry]
) -> tuple[Status, str | None, Usage, Decimal | None]:
    if isinstance(end, ApprovalNeeded):
        usage, cost = spent(recorded)
        return "waiting", to_json(end), usage, cost
    cost = None if end.cost_usd is None else Decimal(end.cost_usd)
    kept = end.messages if run.session_id is None else ()
    if isinstance(end, TurnCompleted):
        output = Output(end.text, end.output, end.finish, end.usage, kept)
        return "completed", to_json(output), end.usage, cost
    status: Status = "cancelled" if end.problem.get("code") == RunCancelled.code else "failed"
    return status, to_json(Output(usage=end.usage, messages=kept)), end.usage, cost
