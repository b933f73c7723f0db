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
Version = Annotated[int, Field(ge=1, le=2_147_483_647)] | Literal["latest"]

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


class Decision(Input):
    """What a person decides about a waiting run."""

    decision: Literal["approve", "deny"]


class Act(Input):
    """A request that needs no more words."""


class RunOut(Output):
    """One execution; `waiting_for` is the question of a run that waits for a person."""

    id: RunId
    kind: str
    source: str
    status: RunStatus
    agent_id: AgentId | None
    agent_version: int | None
    session_id: SessionId | None
    input: dict[str, Any] | None
    text: str | None
    output: Any
    error: dict[str, Any] | None
    waiting_for: dict[str, Any] | None
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
    """One recorded step: a model call, a tool call, a decision or a summary."""

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


class StepPage(PageOf[StepOut]):
    """A page of steps, in the order in which they were recorded."""


class CostOfModel(Output):
    """What the calls of one model came to."""

    name: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None


class CostOut(Output):
    """What a run came to; money is null where no price is known."""

    run_id: RunId
    currency: str
    cost_usd: str | None
    input_tokens: int
    output_tokens: int
    models: list[CostOfModel]
