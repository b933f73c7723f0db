"""What the paths of an organisation's own things name."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from agent_factory.api.dependencies import ActorDep
from agent_factory.api.schemas import Id
from agent_factory.services.organizations import service

OrganizationPath = Annotated[UUID, Id("org", in_path=True)]
UserPath = Annotated[UUID, Id("usr", in_path=True)]
TeamPath = Annotated[UUID, Id("team", in_path=True)]
InvitationPath = Annotated[UUID, Id("inv", in_path=True)]
GrantPath = Annotated[UUID, Id("gra", in_path=True)]


async def own(actor: ActorDep, organization_id: OrganizationPath) -> UUID:
    """Give the organisation of a path, if the caller acts in it; raises `OrganizationNotFound`."""
    service.check_own(actor, organization_id)
    return organization_id


Own = Annotated[UUID, Depends(own)]
"""The organisation of the path, which is the one that the caller acts in."""
