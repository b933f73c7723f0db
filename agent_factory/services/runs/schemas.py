"""What travels about sessions, messages and runs."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StrictBool, StringConstraints

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, Moment, Output
from agent_factory.database.models import RunStatus

SessionId = Annotated[UUID, Id("ses")]
RunId = Annotated[UUID, Id("run")]
AgentId = Annotated[UUID, Id("agt")]
UserId = Annotated[UUID, Id("usr")]
WorkflowId = Annotated[UUID, Id("wf")]
ApprovalId = Annotated[UUID, Id("apr")]
Version = Annotated[int, Field(ge=1, le=2_147_483_647)] | Literal["latest"]

ApprovalStatus = Literal["pending", "approved", "denied", "expired", "cancelled"]

Metadata = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
    Field(max_length=16),
]


class TextIn(Input):
    """Words."""

    type: Literal["text"]
    text: str


class MediaIn(Input):
    """An image, sound or document: by `url`, or as base64 `data`."""

    type: Literal["media"]
    media_type: str = Field(max_length=200)
    url: str | None = Field(default=None, max_length=10_000)
    data: str | None = None
    name: str | None = Field(default=None, max_length=300)


Content = (
    Annotated[str, StringConstraints(min_length=1)]
    | Annotated[list[Annotated[TextIn | MediaIn, Field(discriminator="type")]], Field(min_length=1, max_length=64)]
)


class SessionCreate(Input):
    """A conversation with an agent, named by id or name."""

    agent: str = Field(min_length=1, max_length=100)
    title: str = Field(default="", max_length=500)
    metadata: Metadata = Field(default_factory=dict)


class SessionPatch(Input):
    """What may be changed; `null` in `metadata` removes a key (RFC 7396)."""

    title: str | None = Field(default=None, max_length=500)
    metadata: dict[str, str | None] | None = None


class SessionOut(Output):
    """A conversation; it is `busy` while a turn of it is under way or waits for a decision."""

    id: SessionId
    agent_id: AgentId | None
    title: str
    metadata: dict[str, Any]
    message_count: int
    busy: bool
    created_at: Moment
    updated_at: Moment


class SessionPage(PageOf[SessionOut]):
    """A page of sessions."""


class MessageOut(Output):
    """One message; `text` is all its words, joined."""

    seq: int
    role: str
    text: str
    parts: list[dict[str, Any]]
    run_id: RunId | None
    created_at: Moment


class MessagePage(PageOf[MessageOut]):
    """A page of messages, oldest first."""


class Send(Input):
    """The next message of a conversation; `version` tries another one than the deployed."""

    content: Content
    stream: StrictBool = False
    version: Version | None = None


class RunCreate(Input):
    """One turn without a session."""

    agent: str = Field(min_length=1, max_length=100)
    input: Content
    stream: StrictBool = False
    version: Version | None = None


class Resume(Input):
    """What lets a run go on: the decision that an agent's run waits for; nothing for a workflow's that has ended."""

    decision: Literal["approve", "deny"] | None = None


class WaitOut(Output):
    """Something that a workflow's run waits for: a timer, an event, or a decision by people at `/approvals`."""

    path: str
    kind: str
    wake_at: Moment | None
    event_type: str | None
    approval_id: ApprovalId | None


class ParentOut(Output):
    """The task that started a run."""

    run_id: RunId
    path: str


class RunOut(Output):
    """One execution of an agent or a workflow.

    `input` is an agent's message, or whatever a workflow was given. A large
    output is shown as `{"$preview", "bytes"}` and read at `/runs/{id}/output`.
    `waiting_for` is the question of an agent's run that waits for a person,
    `waits` what a workflow's run waits for. `labels` are the terminal labels
    that its paths ended at; `error` has code, title, detail and, in a workflow,
    the path of the task that failed.
    """

    id: RunId
    kind: str
    source: str
    trigger: str | None
    status: RunStatus
    agent_id: AgentId | None
    agent_version: int | None
    session_id: SessionId | None
    workflow_id: WorkflowId | None
    workflow_version: int | None
    forked_from: RunId | None
    parent: ParentOut | None
    priority: int
    input: Any
    text: str | None
    output: Any
    labels: list[str]
    error: dict[str, Any] | None
    waiting_for: dict[str, Any] | None
    waits: list[WaitOut]
    input_tokens: int
    output_tokens: int
    cost_usd: str | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    duration_ms: int | None


class RunPage(PageOf[RunOut]):
    """A page of runs."""


class SaidOut(Output):
    """The agent's answer."""

    role: str
    text: str
    parts: list[dict[str, Any]]


class TurnOut(Output):
    """A turn: its run, and the answer once there is one."""

    run: RunOut
    message: SaidOut | None


class StepOut(Output):
    """One recorded step: a task, a model call, a tool call, a decision or a summary.

    The fields from `task` on are those of a workflow's tasks: the id and the
    type of the task, how it ended, how often it was tried, and the ways that a
    conditional or switch chose. In a list, a value that is large is shown as
    `{"$preview", "bytes"}`; the step by its path has it whole.
    """

    ord: int
    path: str
    kind: str
    name: str
    input: Any
    output: Any
    is_error: bool
    duration_ms: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None
    created_at: Moment
    task: str | None
    type: str | None
    status: Literal["completed", "failed", "skipped"] | None
    attempts: int | None
    error: dict[str, Any] | None
    targets: list[str] | None


class StepPage(PageOf[StepOut]):
    """A page of steps, in the order in which they were recorded."""


class CostOfModel(Output):
    """What the calls of one model came to."""

    name: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None


class CostOfTask(Output):
    """What the model calls of one task of a workflow, with all inside it, came to."""

    task: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None


class CostOut(Output):
    """What a run came to; money is null where no price is known, `tasks` are a workflow's."""

    run_id: RunId
    currency: str
    cost_usd: str | None
    input_tokens: int
    output_tokens: int
    models: list[CostOfModel]
    tasks: list[CostOfTask]


class SideOut(Output):
    """A task as one of two runs has it; a large output is shown as `{"$preview", "bytes"}`."""

    status: str
    output: Any
    error: dict[str, Any] | None
    duration_ms: int
    cost_usd: str | None


class TaskDiffOut(Output):
    """A task of two runs; a side is null where that run did not come to it."""

    path: str
    type: str
    same: bool
    before: SideOut | None
    after: SideOut | None


class DiffOut(PageOf[TaskDiffOut]):
    """How two runs differ, task by task in their order: `before` is the run in the path, `after` the one in `with`."""

    run_id: RunId
    with_run_id: RunId
    same_definition: bool
    same_input: bool
    same_output: bool


class ReplayOut(Output):
    """What a run comes to from its journal alone, and whether that is the `same` as what it had come to."""

    run_id: RunId
    same: bool
    status: Literal["completed", "failed", "waiting"]
    output: Any
    labels: list[str]
    error: dict[str, Any] | None


class ApprovalOut(Output):
    """A question of a run to people.

    `roles` and `users` (ids or e-mail addresses) may decide; where both are
    empty, everybody in the organisation may. What nobody has decided by
    `deadline` is `expired`, and `default` decides, if there is one.
    """

    id: ApprovalId
    run_id: RunId
    path: str
    title: str
    details: Any
    roles: list[str]
    users: list[str]
    status: ApprovalStatus
    deadline: Moment | None
    default: str | None
    decided_by: UserId | None
    decided_at: Moment | None
    comment: str | None
    created_at: Moment


class ApprovalPage(PageOf[ApprovalOut]):
    """A page of approvals, newest first."""


class Decision(Input):
    """What a person decides, and why."""

    decision: Literal["approve", "deny"]
    comment: str = Field(default="", max_length=10_000)
