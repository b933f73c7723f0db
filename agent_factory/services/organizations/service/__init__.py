"""The organisations room's face: what endpoints and other rooms may call."""

from agent_factory.services.organizations.queries.grants import Wanted
from agent_factory.services.organizations.service.arriving import Joined, accept, register
from agent_factory.services.organizations.service.closing import close_account
from agent_factory.services.organizations.service.founding import Founded, bootstrap, found, found_another
from agent_factory.services.organizations.service.grants import (
    To,
    change_grant,
    get_grant,
    grant,
    list_grants,
    revoke_grant,
)
from agent_factory.services.organizations.service.invitations import (
    get_invitation,
    invite,
    list_invitations,
    resend,
    revoke,
)
from agent_factory.services.organizations.service.living import (
    Mine,
    check_active,
    check_own,
    delete,
    get,
    mine,
    rename,
    restorable_until,
    restore,
    resume,
    suspend,
)
from agent_factory.services.organizations.service.members import change_role, disable, enable, leave, remove
from agent_factory.services.organizations.service.permissions import check_permissions
from agent_factory.services.organizations.service.roles import (
    change_role_rights,
    create_role,
    delete_role,
    get_role,
    own_roles,
)
from agent_factory.services.organizations.service.teams import (
    change_team,
    create_team,
    delete_team,
    get_team,
    list_team,
    list_teams,
    put_in_team,
    take_from_team,
)

__all__ = [
    "Founded",
    "Joined",
    "Mine",
    "To",
    "Wanted",
    "accept",
    "bootstrap",
    "change_grant",
    "change_role",
    "change_role_rights",
    "change_team",
    "check_active",
    "check_own",
    "check_permissions",
    "close_account",
    "create_role",
    "create_team",
    "delete",
    "delete_role",
    "delete_team",
    "disable",
    "enable",
    "found",
    "found_another",
    "get",
    "get_grant",
    "get_invitation",
    "get_role",
    "get_team",
    "grant",
    "invite",
    "leave",
    "list_grants",
    "list_invitations",
    "list_team",
    "list_teams",
    "mine",
    "own_roles",
    "put_in_team",
    "register",
    "remove",
    "rename",
    "resend",
    "restorable_until",
    "restore",
    "resume",
    "revoke",
    "revoke_grant",
    "suspend",
    "take_from_team",
]
