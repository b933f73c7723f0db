"""HTTP for tokens and the sessions of people: who am I, and where am I logged in."""

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, Reader
from agent_factory.api.routing import router
from agent_factory.security.rbac import MEMBER
from agent_factory.services.auth import service
from agent_factory.services.auth.schemas.tokens import Me
from agent_factory.services.auth.schemas.users import UserOut

auth = router("/api/v1/auth", "auth")


@auth.get("/me")
@needs(MEMBER)
async def me(session: Reader, actor: ActorDep) -> Me:
    """Show who the caller is."""
    user = UserOut.model_validate(await service.get_user(session, actor, actor.user_id))
    return Me(user=user, organization_id=actor.organization_id, key_id=actor.key_id, scopes=sorted(actor.scopes))
