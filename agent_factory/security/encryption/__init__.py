"""Envelope encryption: values sealed with a key for each organisation, and those keys wrapped by one from outside.

The column of a sealed value is `Mapped[Sealed]`; its `Place` is the table, the
column and the row's primary key.
"""

from typing import TYPE_CHECKING

from agent_factory.kit.exports import exported

if TYPE_CHECKING:
    from agent_factory.security.encryption.envelope import Place
    from agent_factory.security.encryption.errors import CannotDecrypt, KeyFileExposed, KeyMissing, KeyServiceAway
    from agent_factory.security.encryption.opening import open_vault
    from agent_factory.security.encryption.settings import EncryptionSettings
    from agent_factory.security.encryption.vault import Vault

__all__ = [
    "CannotDecrypt",
    "EncryptionSettings",
    "KeyFileExposed",
    "KeyMissing",
    "KeyServiceAway",
    "Place",
    "Vault",
    "open_vault",
]

__getattr__ = exported(
    __name__,
    {
        "CannotDecrypt": "errors",
        "EncryptionSettings": "settings",
        "KeyFileExposed": "errors",
        "KeyMissing": "errors",
        "KeyServiceAway": "errors",
        "Place": "envelope",
        "Vault": "vault",
        "open_vault": "opening",
    },
)
