"""The face of the auth room."""

from agent_factory.services.auth.service.accounts import (
    account_by_email,
    count_mail,
    create_account,
    send_verification,
    tell_registered,
)
from agent_factory.services.auth.service.disabling import (
    close_account,
    disable_account,
    enable_account,
    memberships_to_end,
    prove_owner,
)
from agent_factory.services.auth.service.keys import (
    IssuedKey,
    WantedKey,
    create_key,
    get_key,
    issue_key,
    list_keys,
    revoke_key,
)
from agent_factory.services.auth.service.memberships import (
    account_to_change,
    held_member,
    member_by_email,
    members_by_ids,
    memberships,
    other_owners,
    remove_member,
    role_in_use,
    standing_of,
)
from agent_factory.services.auth.service.passwords import new_password
from agent_factory.services.auth.service.present import holds, present
from agent_factory.services.auth.service.sessions import (
    SessionView,
    TokenPair,
    end_session,
    end_sessions,
    list_sessions,
    logout,
    logout_everywhere,
    refresh,
    start_session,
)
from agent_factory.services.auth.service.users import add_user, get_user, list_users
from agent_factory.services.auth.service.verifying import Credentials

__all__ = [
    "Credentials",
    "IssuedKey",
    "SessionView",
    "TokenPair",
    "WantedKey",
    "account_by_email",
    "account_to_change",
    "add_user",
    "close_account",
    "count_mail",
    "create_account",
    "create_key",
    "disable_account",
    "enable_account",
    "end_session",
    "end_sessions",
    "get_key",
    "get_user",
    "held_member",
    "holds",
    "issue_key",
    "list_keys",
    "list_sessions",
    "list_users",
    "logout",
    "logout_everywhere",
    "member_by_email",
    "members_by_ids",
    "memberships",
    "memberships_to_end",
    "new_password",
    "other_owners",
    "present",
    "prove_owner",
    "refresh",
    "remove_member",
    "revoke_key",
    "role_in_use",
    "send_verification",
    "standing_of",
    "start_session",
    "tell_registered",
]
