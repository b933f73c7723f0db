"""What a user may do now, of his roles and of grants to single resources."""

from collections.abc import Mapping
from uuid import UUID

from agent_factory.database.models import UserRow
from agent_factory.database.session import ReadSession
from agent_factory.security.rbac import ROLES


async def rights_of(session: ReadSession, user: UserRow) -> frozenset[str]:  # noqa: ARG001 - roles will be rows
    """Give the rights of all of a user's roles."""
    return ROLES.get(user.role, frozenset())


async def grants_of(session: ReadSession, user: UserRow) -> Mapping[UUID, frozenset[str]]:  # noqa: ARG001 - they will be rows
    """Give what a user may do with single resources, by their ids."""
    return {}
