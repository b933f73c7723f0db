"""What a running turn or workflow tells its watchers, in order."""

from typing import Any

import msgspec

from agent_factory.core.message import Message, Summary
from agent_factory.core.model import Finish, Usage


class TextPiece(msgspec.Struct, frozen=True, tag="text.delta"):
    """Words of the answer that have passed the output guardrails."""

    text: str


class ReasoningPiece(msgspec.Struct, frozen=True, tag="reasoning.delta"):
    """Words of the model's thoughts that have passed the output guardrails."""

    text: str


class ToolStarted(msgspec.Struct, frozen=True, tag="tool.started"):
    """A tool call begins."""

    path: str
    call_id: str
    name: str
    arguments: str


class ToolFinished(msgspec.Struct, frozen=True, tag="tool.completed", omit_defaults=True):
    """A tool call ended, well or not."""

    path: str
    call_id: str
    name: str
    content: str
    is_error: bool = False
    duration_ms: int = 0


class ModelFinished(msgspec.Struct, frozen=True, tag="model.completed", omit_defaults=True):
    """A model call ended; `cost_usd` is a decimal string, absent where the price is unknown."""

    path: str
    message: Message
    usage: Usage
    model: str
    provider: str
    cost_usd: str | None = None
    duration_ms: int = 0


class Retrying(msgspec.Struct, frozen=True, tag="model.retrying"):
    """A model call failed and is made again after a pause of `delay` seconds."""

    path: str
    code: str
    attempt: int
    delay: float


class TaskStarted(msgspec.Struct, frozen=True, tag="task.started"):
    """A task of a workflow begins."""

    path: str
    task: str
    task_type: str


class TaskFinished(msgspec.Struct, frozen=True, tag="task.completed", omit_defaults=True):
    """A task of a workflow ended; `error` has code, title, detail and path where it failed."""

    path: str
    task: str
    task_type: str
    status: str
    duration_ms: int = 0
    error: dict[str, Any] | None = None


class TaskRetrying(msgspec.Struct, frozen=True, tag="task.retrying"):
    """A task failed at its `attempt`, and is tried again after a pause of `delay` seconds."""

    path: str
    task: str
    code: str
    attempt: int
    delay: float


class RunWaiting(msgspec.Struct, frozen=True, tag="run.waiting"):
    """A workflow's run holds nothing until one of these happens: each with path, kind, wake_at and event_type."""

    waits: tuple[dict[str, Any], ...]


class ApprovalNeeded(msgspec.Struct, frozen=True, tag="approval.requested"):
    """A person has to decide before the turn can go on."""

    path: str
    reason: str
    name: str = ""
    arguments: str = ""


class TurnCompleted(msgspec.Struct, frozen=True, tag="run.completed", omit_defaults=True):
    """The turn is over: its new messages (without the user's), the answer and what it cost.

    `finish` is `tool_calls` where the caller's own tools have to run next.
    `admitted` is the user's message as it was let in, where a guardrail changed
    it; `summary` the conversation's running summary, where it moved on.
    """

    text: str
    messages: tuple[Message, ...]
    usage: Usage
    output: Any = None
    cost_usd: str | None = None
    finish: Finish = "stop"
    admitted: Message | None = None
    summary: Summary | None = None


class TurnFailed(msgspec.Struct, frozen=True, tag="run.failed", omit_defaults=True):
    """The turn ended without an answer; `problem` has code, title and detail.

    `messages` are those that stand: a valid history without an orphan call.
    A turn that was cancelled ends so too, with the code `run_cancelled`.
    """

    problem: dict[str, Any]
    messages: tuple[Message, ...] = ()
    usage: Usage = Usage()
    cost_usd: str | None = None
    admitted: Message | None = None
    summary: Summary | None = None


TurnEvent = (
    TextPiece
    | ReasoningPiece
    | ToolStarted
    | ToolFinished
    | ModelFinished
    | Retrying
    | TaskStarted
    | TaskFinished
    | TaskRetrying
    | RunWaiting
    | ApprovalNeeded
    | TurnCompleted
    | TurnFailed
)
