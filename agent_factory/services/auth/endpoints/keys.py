"""HTTP for API keys."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, Reader, Writer
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import SHOWN_ONCE, router
from agent_factory.api.schemas import Id
from agent_factory.kit import ids
from agent_factory.services.auth import service
from agent_factory.services.auth.endpoints.credentials import CredentialsDep
from agent_factory.services.auth.schemas.keys import KeyCreate, KeyCreated, KeyOut, KeyPage

keys = router("/api/v1/api-keys", "api-keys")

KeyPath = Annotated[UUID, Id("key", in_path=True)]
Mine = Annotated[bool, Query(description="Leave out the keys of others.")]


@keys.post("", status_code=201, openapi_extra={SHOWN_ONCE: True})
@needs("apikey:create")
async def create(session: Writer, actor: ActorDep, body: KeyCreate, response: Response) -> KeyCreated:
    """Create an API key. Its secret is in this answer and in no other."""
    issued = await service.create_key(session, actor, service.WantedKey(**dict(body)))
    response.headers["Location"] = f"/api/v1/api-keys/{ids.encode('key', issued.row.id)}"
    return KeyCreated(**KeyOut.model_validate(issued.row).model_dump(mode="json"), key=issued.secret)


@keys.get("")
@needs("apikey:read")
async def list_(session: Reader, actor: ActorDep, paging: PagingDep, mine: Mine = False) -> KeyPage:
    """List your API keys, newest first; all of the organisation, if you manage its people."""
    return KeyPage.model_validate(await service.list_keys(session, actor, paging.limit, paging.after, mine=mine))


@keys.get("/{key_id}")
@needs("apikey:read")
async def get(session: Reader, actor: ActorDep, key_id: KeyPath) -> KeyOut:
    """Show one API key."""
    return KeyOut.model_validate(await service.get_key(session, actor, key_id))


@keys.delete("/{key_id}", status_code=204)
@needs("apikey:delete")
async def revoke(session: Writer, actor: ActorDep, credentials: CredentialsDep, key_id: KeyPath) -> None:
    """Revoke an API key; it is refused everywhere within 5 seconds."""
    await service.revoke_key(session, actor, key_id)
    credentials.forget(key_id=key_id)
