"""What travels about definitions of every kind."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, WithJsonSchema

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, Moment, Output
from agent_factory.core.agent import AgentStatus

UserId = Annotated[UUID, Id("usr")]

Patch = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "additionalProperties": True})]
"""Part of a definition; null removes what is there (RFC 7396)."""


class VersionChoice(Input):
    """Which version is meant."""

    version: int | None = Field(default=None, ge=1, le=2_147_483_647, strict=True)


class Summary(Output):
    """A definition's head; each kind has ids of its own."""

    id: UUID
    name: str
    description: str
    status: AgentStatus
    latest_version: int
    deployed_version: int | None
    revision: int
    created_by: UserId | None
    created_at: Moment
    updated_at: Moment


class VersionSummary(Output):
    """A version without its definition; `digest` names its content."""

    number: int
    digest: str
    created_by: UserId | None
    created_at: Moment


class VersionPage(PageOf[VersionSummary]):
    """A page of versions."""


class Validation(Output):
    """A definition that can be run here."""

    valid: bool
