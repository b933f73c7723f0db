"""What travels about API keys."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, Moment, Output
from agent_factory.services.auth.schemas.users import UserId

KeyId = Annotated[UUID, Id("key")]
Scope = Annotated[str, Field(max_length=100)]


class KeyCreate(Input):
    """A key to be made."""

    name: str = Field(min_length=1, max_length=255, description="What the key is for.")
    kind: Literal["personal", "service"] = Field(
        default="personal", description="A personal key is yours; a service's key outlives your leaving."
    )
    scopes: list[Scope] | None = Field(
        default=None,
        max_length=100,
        description="What the key may be used for, of what you may do; all of it, if absent.",
    )
    user_id: UserId | None = Field(
        default=None, description="The service that gets one more key; a new one, if absent."
    )
    expires_at: Moment | None = Field(default=None, description="When it stops working; never, if absent.")


class KeyOut(Output):
    """A key, without its secret; `created_by` is the person that made it."""

    id: KeyId
    name: str
    kind: str
    prefix: str
    user_id: UserId
    created_by: UserId | None
    scopes: list[str]
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Moment | None
    revoked_at: Moment | None


class KeyCreated(KeyOut):
    """A new key; `key` is shown this once."""

    key: str


class KeyPage(PageOf[KeyOut]):
    """A page of keys."""
