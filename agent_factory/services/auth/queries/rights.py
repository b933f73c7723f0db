"""What a person may do now, of all his roles and of grants to single resources."""

from collections.abc import Mapping
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from agent_factory.database.models import UserRow
from agent_factory.database.session import ReadSession
from agent_factory.security.rbac import ROLES

_STANDING = text("""
WITH teams_of AS (
    SELECT team_id, role FROM team_members WHERE organization_id = :organization_id AND user_id = :user_id
)
SELECT
    CASE WHEN o.deleted_at IS NOT NULL THEN 'deleted' WHEN o.suspended_at IS NOT NULL THEN 'suspended'
        ELSE 'active' END AS organization,
    ARRAY(SELECT role FROM teams_of WHERE role IS NOT NULL) AS team_roles,
    ARRAY(SELECT DISTINCT unnest(rights) FROM roles
        WHERE organization_id = o.id AND (name = :role OR name IN (SELECT role FROM teams_of))) AS custom,
    (SELECT coalesce(jsonb_agg(jsonb_build_array(coalesce(agent_id, workflow_id), rights)), '[]') FROM grants
        WHERE organization_id = o.id
            AND (user_id = :user_id OR team_id IN (SELECT team_id FROM teams_of))) AS grants
FROM organizations o WHERE o.id = :organization_id
""").columns(organization=Text, team_roles=ARRAY(Text), custom=ARRAY(Text), grants=JSONB)


class Standing(msgspec.Struct, frozen=True):
    """What a person may do: in all of the organisation, and to single resources by their ids.

    `organization` is the status of it: `active`, `suspended` or `deleted`.
    """

    rights: frozenset[str]
    grants: Mapping[UUID, frozenset[str]]
    organization: str


async def standing_of(session: ReadSession, user: UserRow) -> Standing:
    """Give what a user may do now, by one statement: his role's, his teams' and his organisation's own roles."""
    asked = {"organization_id": user.organization_id, "user_id": user.id, "role": user.role}
    status, team_roles, custom, granted = (await session.execute(_STANDING, asked)).one()
    built_in = (ROLES.get(role, frozenset()) for role in (user.role, *team_roles))
    grants: dict[UUID, frozenset[str]] = {}
    for resource, rights in granted:
        known = UUID(resource)
        grants[known] = grants.get(known, frozenset()).union(rights)
    return Standing(frozenset(custom).union(*built_in), grants, status)
