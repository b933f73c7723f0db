"""How runs and messages are written on the wire."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from agent_factory.core.event import ApprovalNeeded, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.core.message import Message
from agent_factory.database.models import MessageRow, RunRow, RunStatus, SessionRow
from agent_factory.kit import ids
from agent_factory.kit.clock import rfc3339
from agent_factory.kit.money import usd
from agent_factory.runtime.journal import Settle
from agent_factory.runtime.scope import TurnEnd


def answer_of(end: TurnEnd | None) -> dict[str, Any] | None:
    """Write the agent's answer, the last of a turn's messages."""
    if not isinstance(end, TurnCompleted) or not end.messages:
        return None
    last = end.messages[-1]
    return {"role": last.role, "text": end.text, "parts": last.parts}


def words(parts: list[Any]) -> str:
    """Join the words of a stored message."""
    return "".join(part.get("text", "") for part in parts if part.get("type") == "text")


def message_out(row: MessageRow) -> dict[str, Any]:
    """Write a stored message."""
    return {
        "seq": row.seq,
        "role": row.role,
        "text": words(row.parts),
        "parts": row.parts,
        "run_id": row.run_id,
        "created_at": row.created_at,
    }


def session_out(row: SessionRow) -> dict[str, Any]:
    """Write a session."""
    return {
        "id": row.id,
        "agent_id": row.agent_id,
        "title": row.title,
        "metadata": row.data,
        "message_count": row.message_count,
        "busy": row.revision % 2 == 1,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def run_out(row: RunRow) -> dict[str, Any]:
    """Write a stored run."""
    output = row.output or {}
    waiting = row.status == RunStatus.WAITING
    return {
        "id": row.id,
        "kind": row.kind,
        "source": row.source,
        "status": row.status,
        "agent_id": row.agent_id,
        "agent_version": row.agent_version,
        "session_id": row.session_id,
        "input": (row.input or {}).get("message"),
        "text": output.get("text", "") if row.status == RunStatus.COMPLETED else None,
        "output": None if waiting else output.get("output"),
        "error": row.error,
        "waiting_for": output if waiting else None,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": money(row.cost_usd),
        "created_at": row.created_at,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "duration_ms": row.duration_ms,
    }


def money(amount: Decimal | None) -> str | None:
    """Write an amount, where it is known."""
    return None if amount is None else usd(amount)


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run without looking it up."""

    id: str
    source: str
    agent_id: str | None
    agent_version: int | None
    session_id: str | None
    message: Message
    at: datetime


def live_run_out(run: Begun, end: TurnEnd | None, settled: Settle | None) -> dict[str, Any]:
    """Write a run of this process, as `run_out` will write it from its row."""
    completed = end if isinstance(end, TurnCompleted) else None
    over = settled is not None and settled.status != RunStatus.WAITING
    return {
        "id": run.id,
        "kind": "agent",
        "source": run.source,
        "status": RunStatus.RUNNING if settled is None else settled.status,
        "agent_id": run.agent_id,
        "agent_version": run.agent_version,
        "session_id": run.session_id,
        "input": run.message,
        "text": None if completed is None else completed.text,
        "output": None if completed is None else completed.output,
        "error": end.problem if isinstance(end, TurnFailed) else None,
        "waiting_for": end if isinstance(end, ApprovalNeeded) else None,
        "input_tokens": 0 if settled is None else settled.input_tokens,
        "output_tokens": 0 if settled is None else settled.output_tokens,
        "cost_usd": None if settled is None else money(settled.cost_usd),
        "created_at": rfc3339(run.at),
        "started_at": rfc3339(run.at),
        "completed_at": rfc3339(settled.at) if settled is not None and over else None,
        "duration_ms": None if settled is None else settled.duration_ms,
    }


def event_name(event: TurnEvent) -> str:
    """Name an event on the wire; it is the `type` in its data, too."""
    return str(event.__struct_config__.tag)


def run_ref(text: str) -> tuple[str, str]:
    """Split the id of a session's event, `run_…/3.0`, into the run and the event."""
    run, _, event = text.partition("/")
    return run, event


def public(prefix: str, value: Any) -> str | None:  # noqa: ANN401 - a UUID or nothing
    """Write an id, where there is one."""
    return None if value is None else ids.encode(prefix, value)
