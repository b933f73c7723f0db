"""The face of the auth room."""

from agent_factory.services.auth.service.keys import (
    IssuedKey,
    create_key,
    get_key,
    issue_key,
    list_keys,
    revoke_key,
)
from agent_factory.services.auth.service.users import add_user, get_user, list_users
from agent_factory.services.auth.service.verifying import Keyring

__all__ = [
    "IssuedKey",
    "Keyring",
    "add_user",
    "create_key",
    "get_key",
    "get_user",
    "issue_key",
    "list_keys",
    "list_users",
    "revoke_key",
]
