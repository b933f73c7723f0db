"""HTTP for the origins that an organisation allows (S24)."""

import re
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, Field

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, Reader, Writer
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id, Input, Output
from agent_factory.database import origins as store
from agent_factory.kit.errors import NotFound
from agent_factory.security.auth import Actor

origins = router("/api/v1/organizations", "organizations")

_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:]+\])(?::([0-9]{1,5}))?")
_USUAL = {"http": "80", "https": "443"}
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_OrganizationPath = Annotated[UUID, Id("org", in_path=True)]


def _origin(text: str) -> str:
    """Write an origin as browsers send it; what is no origin, or is open to eavesdroppers, is refused."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None or not urlsplit(text).hostname:
        raise ValueError("an origin is like https://app.example.com or https://app.example.com:8443, and never *")
    scheme, host, port = found.groups()
    if scheme == "http" and host not in _LOOPBACK:
        raise ValueError("an origin speaks https; only those of your own machine may speak http")
    return f"{scheme}://{host}" + (f":{port}" if port and port != _USUAL[scheme] else "")


class Origins(Input):
    """The origins to allow; others are no longer allowed."""

    origins: list[Annotated[str, Field(max_length=300), AfterValidator(_origin)]] = Field(max_length=100)


class OriginsOut(Output):
    """The origins whose pages may read the organisation's answers."""

    origins: list[str]


@origins.get("/{organization_id}/cors")
@needs("org:edit")
async def get_cors(session: Reader, actor: ActorDep, organization_id: _OrganizationPath) -> OriginsOut:
    """List the origins whose pages may read the organisation's answers."""
    _check_own(actor, organization_id)
    return OriginsOut(origins=await store.origins(session, organization_id))


@origins.put("/{organization_id}/cors")
@needs("org:edit")
async def put_cors(session: Writer, actor: ActorDep, organization_id: _OrganizationPath, body: Origins) -> OriginsOut:
    """Allow pages of these origins, and of no others, to read the organisation's answers; holds within 5 seconds."""
    _check_own(actor, organization_id)
    await store.replace(session, organization_id, body.origins)
    return OriginsOut(origins=await store.origins(session, organization_id))


def _check_own(actor: Actor, organization_id: UUID) -> None:
    if organization_id != actor.organization_id:
        raise NotFound("There is no such organisation, or it is not yours.")
