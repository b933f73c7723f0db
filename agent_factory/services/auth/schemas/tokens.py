"""What travels about tokens and sessions."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, Moment, Output
from agent_factory.services.auth.schemas.keys import KeyId
from agent_factory.services.auth.schemas.users import OrganizationId, UserOut

LoginId = Annotated[UUID, Id("lgn")]


class Me(Output):
    """Who the caller is, with which key or in which session, and what he may do.

    `rights` are those of the role, `scopes` what of them the key or token may
    be used for.
    """

    user: UserOut
    organization_id: OrganizationId
    key_id: KeyId | None
    session_id: LoginId | None
    rights: list[str]
    scopes: list[str]


class Refresh(Input):
    """A refresh token to be used up."""

    refresh_token: str = Field(min_length=1, max_length=256)
    organization_id: OrganizationId | None = Field(
        default=None, description="Act in this organisation from now on; in the same one as before, if absent."
    )


class TokensOut(Output):
    """What a client goes on with; `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int
    session_id: LoginId
    organization_id: OrganizationId


class SessionOut(Output):
    """One place where you are logged in; `current` is the one that asks."""

    id: LoginId
    organization_id: OrganizationId
    device: str
    address: str
    created_at: Moment
    refreshed_at: Moment
    expires_at: Moment
    current: bool


class SessionPage(PageOf[SessionOut]):
    """A page of sessions."""
