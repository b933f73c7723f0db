"""What travels about API keys."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, Moment, Output
from agent_factory.services.auth.schemas.users import UserId

KeyId = Annotated[UUID, Id("key")]


class KeyCreate(Input):
    """A key to be made."""

    name: str = Field(min_length=1, max_length=255, description="What the key is for.")
    expires_at: Moment | None = Field(default=None, description="When it stops working; never, if absent.")


class KeyOut(Output):
    """A key, without its secret."""

    id: KeyId
    name: str
    prefix: str
    user_id: UserId
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
