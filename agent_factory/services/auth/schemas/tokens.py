"""What travels about tokens and sessions."""

from agent_factory.api.schemas import Output
from agent_factory.services.auth.schemas.keys import KeyId
from agent_factory.services.auth.schemas.users import OrganizationId, UserOut


class Me(Output):
    """Who the caller is, and with which key."""

    user: UserOut
    organization_id: OrganizationId
    key_id: KeyId | None
    scopes: list[str]
