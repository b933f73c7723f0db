"""What travels about agents."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, WithJsonSchema

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Definition, Id, Input, Moment, Output
from agent_factory.core.agent import AgentStatus

AgentId = Annotated[UUID, Id("agt")]
UserId = Annotated[UUID, Id("usr")]

Patch = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "additionalProperties": True})]
"""Part of a definition; null removes what is there (RFC 7396)."""


class Act(Input):
    """A step in an agent's life that needs no more words."""


class VersionChoice(Input):
    """Which version is meant."""

    version: int | None = Field(default=None, ge=1, le=2_147_483_647, strict=True)


class AgentSummary(Output):
    """An agent without its definition."""

    id: AgentId
    name: str
    description: str
    status: AgentStatus
    latest_version: int
    deployed_version: int | None
    revision: int
    created_by: UserId | None
    created_at: Moment
    updated_at: Moment


class AgentOut(AgentSummary):
    """An agent with its newest definition."""

    definition: Definition


class AgentPage(PageOf[AgentSummary]):
    """A page of agents."""


class VersionSummary(Output):
    """A version without its definition; `digest` names its content."""

    number: int
    digest: str
    created_by: UserId | None
    created_at: Moment


class VersionOut(VersionSummary):
    """A version, which never changes."""

    definition: Definition


class VersionPage(PageOf[VersionSummary]):
    """A page of versions."""


class Validation(Output):
    """A definition that can be run here."""

    valid: bool


class TemplateSummary(Output):
    """A ready-made agent."""

    name: str
    category: str
    description: str


class TemplateOut(TemplateSummary):
    """A ready-made agent: the definition to start from, and the agents that it calls, to be created before it."""

    definition: Definition
    helpers: list[Definition]


class TemplatePage(PageOf[TemplateSummary]):
    """A page of templates, by name."""
