"""Access tokens: short-lived, signed with ES256, verified by whoever has the public keys (S29)."""

from typing import TYPE_CHECKING

from agent_factory.kit.exports import exported

if TYPE_CHECKING:
    from agent_factory.security.tokens.errors import BadToken
    from agent_factory.security.tokens.issuers import Issuer, Issuers
    from agent_factory.security.tokens.settings import AuthSettings
    from agent_factory.security.tokens.signed import LONGEST, Claims, Subject
    from agent_factory.security.tokens.tokens import Tokens

__all__ = ["LONGEST", "AuthSettings", "BadToken", "Claims", "Issuer", "Issuers", "Subject", "Tokens"]

__getattr__ = exported(
    __name__,
    {
        "LONGEST": "signed",
        "AuthSettings": "settings",
        "BadToken": "errors",
        "Claims": "signed",
        "Issuer": "issuers",
        "Issuers": "issuers",
        "Subject": "signed",
        "Tokens": "tokens",
    },
)
