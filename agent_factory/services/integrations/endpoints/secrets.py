"""HTTP for secrets: their values go in, and never come out."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader, Writer
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id
from agent_factory.kit import ids
from agent_factory.services.integrations import service
from agent_factory.services.integrations.schemas import SecretCreate, SecretName, SecretOut, SecretPage, SecretReplace

secrets = router("/api/v1/secrets", "secrets")

SecretPath = Annotated[UUID, Id("sec", in_path=True)]


@secrets.post("", status_code=201)
@needs("org:secrets")
async def create(
    session: Writer, actor: ActorDep, platform: PlatformDep, body: SecretCreate, response: Response
) -> SecretOut:
    """Keep a secret, sealed. No answer ever holds its value."""
    row = await service.keep_secret(
        session, platform.vault, actor, body.name, body.value, hosts=body.hosts, description=body.description
    )
    response.headers["Location"] = f"/api/v1/secrets/{ids.encode('sec', row.id)}"
    return SecretOut.model_validate(row)


@secrets.get("")
@needs("agent:read")
async def list_(
    session: Reader,
    actor: ActorDep,
    paging: PagingDep,
    name: Annotated[SecretName | None, Query(description="Only the secret of this name.")] = None,
) -> SecretPage:
    """List secrets, newest first, without their values."""
    found = await service.list_secrets(session, actor, paging.limit, paging.after, name=name)
    data = [SecretOut.model_validate(row) for row in found.data]
    return SecretPage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)


@secrets.get("/{secret_id}")
@needs("agent:read")
async def get(session: Reader, actor: ActorDep, secret_id: SecretPath) -> SecretOut:
    """Show a secret without its value."""
    return SecretOut.model_validate(await service.get_secret(session, actor, secret_id))


@secrets.put("/{secret_id}")
@needs("org:secrets")
async def replace(
    session: Writer, actor: ActorDep, platform: PlatformDep, secret_id: SecretPath, body: SecretReplace
) -> SecretOut:
    """Give a secret another value. Its hosts change only together with its value, which nobody can move elsewhere."""
    row = await service.replace_secret(
        session, platform.vault, actor, secret_id, body.value, hosts=body.hosts, description=body.description
    )
    return SecretOut.model_validate(row)


@secrets.delete("/{secret_id}", status_code=204)
@needs("org:secrets")
async def delete(session: Writer, actor: ActorDep, secret_id: SecretPath) -> None:
    """Remove a secret; what names it fails from then on."""
    await service.delete_secret(session, actor, secret_id)
