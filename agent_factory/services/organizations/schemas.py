"""What travels about organisations."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, Moment, Output

OrganizationId = Annotated[UUID, Id("org")]


class OrganizationPatch(Input):
    """What may be changed."""

    name: str = Field(min_length=1, max_length=255)


class OrganizationOut(Output):
    """An organisation."""

    id: OrganizationId
    name: str
    domain: str | None
    plan: str
    created_at: Moment


class OrganizationPage(PageOf[OrganizationOut]):
    """A page of organisations."""
