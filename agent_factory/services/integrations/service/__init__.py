"""What others may ask of the integrations room."""

from agent_factory.services.integrations.service.secrets import (
    delete_secret,
    get_secret,
    keep_secret,
    list_secrets,
    replace_secret,
)
from agent_factory.services.integrations.service.tools import Invoked, described, invoke, tool, tools
from agent_factory.services.integrations.service.using import StoredSecrets

__all__ = [
    "Invoked",
    "StoredSecrets",
    "delete_secret",
    "described",
    "get_secret",
    "invoke",
    "keep_secret",
    "list_secrets",
    "replace_secret",
    "tool",
    "tools",
]
