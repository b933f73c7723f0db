"""HTTP for the people of an organisation."""

from typing import Annotated
from uuid import UUID

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, Reader
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id
from agent_factory.security.rbac import MEMBER
from agent_factory.services.auth import service
from agent_factory.services.auth.schemas.users import UserOut, UserPage

users = router("/api/v1/users", "users")

UserPath = Annotated[UUID, Id("usr", in_path=True)]


@users.get("")
@needs(MEMBER)
async def list_(session: Reader, actor: ActorDep, paging: PagingDep) -> UserPage:
    """List the people of the organisation, newest first."""
    return UserPage.model_validate(await service.list_users(session, actor, paging.limit, paging.after))


@users.get("/{user_id}")
@needs(MEMBER)
async def get(session: Reader, actor: ActorDep, user_id: UserPath) -> UserOut:
    """Show one person of the organisation."""
    return UserOut.model_validate(await service.get_user(session, actor, user_id))
