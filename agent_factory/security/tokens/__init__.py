"""Access tokens: short-lived, signed with ES256, verified by whoever has the public keys (S29)."""

from agent_factory.security.tokens.errors import BadToken
from agent_factory.security.tokens.settings import AuthSettings
from agent_factory.security.tokens.signed import LONGEST, Claims, Subject
from agent_factory.security.tokens.tokens import Tokens

__all__ = ["LONGEST", "AuthSettings", "BadToken", "Claims", "Subject", "Tokens"]
