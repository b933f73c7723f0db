"""How runs and messages are written on the wire."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

import msgspec

from agent_factory.core.event import ApprovalNeeded, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.core.message import Message
from agent_factory.database.models import ApprovalRow, MessageRow, RunRow, RunStatus, RunStepRow, SessionRow
from agent_factory.kit import ids
from agent_factory.kit.clock import rfc3339
from agent_factory.kit.money import usd
from agent_factory.runtime.flow.variables import Ref
from agent_factory.runtime.journal import Settle
from agent_factory.runtime.scope import TurnEnd
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import roles_within

WORKFLOW = "workflow"
"""The kind of a run that is a workflow's; all others are agents' turns."""

_PREVIEW = b'{"$preview":'
_SHOWN = 2_000
"""Characters of a value that a list shows."""

_TASK = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:#[0-9]+)?(?:\[[0-9]+\])?\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ATTEMPT = re.compile(r"#([0-9]+)\Z")

_OTHER_NAMES = {"owner": "organization_owner", "organization_admin": "admin"}
"""How definitions may name roles besides."""


class WaitView(msgspec.Struct, frozen=True):
    """Something that a run waits for."""

    run_id: UUID
    path: str
    kind: str
    wake_at: datetime | None
    event_type: str | None
    approval_id: UUID | None


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


def run_out(row: RunRow, waits: Sequence[WaitView] = ()) -> dict[str, Any]:
    """Write a stored run; `waits` are what a workflow's run waits for."""
    written = _flow_out(row) if row.kind == WORKFLOW else _turn_out(row)
    parent = None if row.parent_run is None else {"run_id": row.parent_run, "path": row.parent_path or ""}
    return {
        "id": row.id,
        "kind": row.kind,
        "source": row.source,
        "trigger": row.trigger,
        "status": row.status,
        "agent_id": row.agent_id,
        "agent_version": row.agent_version,
        "session_id": row.session_id,
        "workflow_id": row.workflow_id,
        "workflow_version": row.workflow_version,
        "forked_from": row.forked_from,
        "parent": parent,
        "priority": row.priority,
        **written,
        "labels": row.labels,
        "error": row.error,
        "waits": [msgspec.structs.asdict(wait) for wait in waits],
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": money(row.cost_usd),
        "created_at": row.created_at,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "duration_ms": row.duration_ms,
    }


def _turn_out(row: RunRow) -> dict[str, Any]:
    output: dict[str, Any] = row.output or {}
    waiting = row.status == RunStatus.WAITING
    return {
        "input": (row.input or {}).get("message"),
        "text": output.get("text", "") if row.status == RunStatus.COMPLETED else None,
        "output": None if waiting else output.get("output"),
        "waiting_for": output if waiting else None,
    }


def _flow_out(row: RunRow) -> dict[str, Any]:
    output = (row.output or {}).get("output")
    return {
        "input": (row.input or {}).get("input"),
        "text": None,
        "output": output if stored_result(output) is None else referred(output),
        "waiting_for": None,
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
        "trigger": None,
        "status": RunStatus.RUNNING if settled is None else settled.status,
        "agent_id": run.agent_id,
        "agent_version": run.agent_version,
        "session_id": run.session_id,
        "workflow_id": None,
        "workflow_version": None,
        "forked_from": None,
        "parent": None,
        "priority": 0,
        "input": run.message,
        "text": None if completed is None else completed.text,
        "output": None if completed is None else completed.output,
        "labels": [],
        "error": end.problem if isinstance(end, TurnFailed) else None,
        "waiting_for": end if isinstance(end, ApprovalNeeded) else None,
        "waits": [],
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


def step_out(row: RunStepRow, *, attempts: int = 1, shortened: bool = False) -> dict[str, Any]:
    """Write a recorded step; `attempts` is how often a task was tried, with `shortened` large values are cut."""
    task = _task_out(row, attempts) if row.kind == "task" else _NO_TASK
    shown = {"input": row.input, "output": row.output} | task
    if stored_output(row) is not None:
        shown["output"] = referred(shown["output"])
    elif shortened:
        shown |= {name: shorter(shown[name]) for name in ("input", "output")}
    return {
        "ord": row.ord,
        "path": row.path,
        "kind": row.kind,
        "name": row.name,
        "is_error": row.is_error,
        "duration_ms": row.duration_ms,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": money(row.cost_usd),
        "created_at": row.created_at,
        **shown,
    }


_NONE: Mapping[str, Any] = MappingProxyType({})
_NO_TASK: dict[str, Any] = dict.fromkeys(("task", "type", "status", "attempts", "error", "targets"))


def _task_out(row: RunStepRow, attempts: int) -> dict[str, Any]:
    outcome: dict[str, Any] = row.output or {}
    attempt = _ATTEMPT.search(row.path)
    return {
        "output": None if attempt else outcome.get("output"),
        "task": task_of(row.path),
        "type": row.name,
        "status": outcome.get("status", "completed"),
        "attempts": int(attempt[1]) if attempt else attempts,
        "error": outcome.get("error"),
        "targets": outcome.get("targets"),
    }


def stored_output(row: RunStepRow) -> Ref | None:
    """Give where a task's output lies, if it is in the object store."""
    outcome: Mapping[str, Any] = row.output if row.kind == "task" and row.output else _NONE
    return msgspec.convert(outcome["output"], Ref) if outcome.get("stored") else None


def task_of(path: str) -> str | None:
    """Give the id of the task at a path: of `each[3]/fetch#1` it is `fetch`."""
    found = _TASK.match(path.rpartition("/")[2])
    return None if found is None else found[1]


def shorter(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Give a value as a list shows it: of a large one the beginning."""
    data = msgspec.json.encode(value)
    if len(data) <= _SHOWN or data.startswith(_PREVIEW):
        return value
    return {"$preview": data[:_SHOWN].decode(errors="ignore"), "bytes": len(data)}


def stored_result(output: Any) -> Ref | None:  # noqa: ANN401 - any JSON value
    """Give where a workflow's output lies, if it is in the object store."""
    if not isinstance(output, dict) or not _DIGEST.fullmatch(str(cast("dict[str, Any]", output).get("$payload"))):
        return None
    try:
        return msgspec.convert(output, Ref)
    except msgspec.ValidationError:
        return None  # a value of somebody's own that only begins like one


def referred(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a reference as it is stored
    """Show the beginning of a value that lies in the object store."""
    return {"$preview": value.get("preview", ""), "bytes": value.get("total") or value["bytes"]}


def may_decide(approval: ApprovalRow, actor: Actor, email: str) -> bool:
    """Tell whether somebody was asked: by a role whose rights he has, by his id, or by his e-mail address.

    Where nobody is named, everybody in the organisation is asked.
    """
    if not approval.roles and not approval.users:
        return True
    named = {user.lower() for user in approval.users}
    if named & {ids.encode("usr", actor.user_id), email.lower()}:
        return True
    roles = {_OTHER_NAMES.get(role, role) for role in approval.roles}
    return actor.role in roles or bool(roles & roles_within(actor.rights))


def subject_of(row: RunRow) -> tuple[str, UUID | None]:
    """Give the noun of what a run is of, and its id, where that is kept."""
    return (WORKFLOW, row.workflow_id) if row.kind == WORKFLOW else ("agent", row.agent_id)


def approval_out(row: ApprovalRow) -> dict[str, Any]:
    """Write an approval."""
    return {
        "id": row.id,
        "run_id": row.run_id,
        "path": row.path,
        "title": row.title,
        "details": row.details,
        "roles": row.roles,
        "users": row.users,
        "status": row.status,
        "deadline": row.deadline,
        "default": row.default_decision,
        "decided_by": row.decided_by,
        "decided_at": row.decided_at,
        "comment": row.comment,
        "created_at": row.created_at,
    }
