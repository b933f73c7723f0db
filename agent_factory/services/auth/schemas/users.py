"""What travels about the people of an organisation."""

from typing import Annotated
from uuid import UUID

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Moment, Output

UserId = Annotated[UUID, Id("usr")]
OrganizationId = Annotated[UUID, Id("org")]


class UserOut(Output):
    """A person of the organisation."""

    id: UserId
    organization_id: OrganizationId
    email: str
    name: str
    role: str
    created_at: Moment


class UserPage(PageOf[UserOut]):
    """A page of users."""
