"""Makes the vault that the settings describe."""

from pathlib import Path

from agent_factory.database.pool import Pool
from agent_factory.security.encryption.key_file import KeyFile
from agent_factory.security.encryption.kms import KmsKey
from agent_factory.security.encryption.settings import EncryptionSettings
from agent_factory.security.encryption.vault import Vault
from agent_factory.security.encryption.wrapping import Wrapper

FILE_NAME = "encryption.key"
"""The key file in the state folder."""


def open_vault(settings: EncryptionSettings, pool: Pool, state_folder: Path) -> Vault:
    """Make the vault; no key is read, made or asked for before it is needed."""
    return Vault(
        pool,
        wrappers_of(settings, state_folder),
        cache_seconds=settings.cache_seconds,
        cache_keys=settings.cache_keys,
    )


def wrappers_of(settings: EncryptionSettings, state_folder: Path) -> tuple[Wrapper, ...]:
    """Give what wraps data keys, the one in use first."""
    file = KeyFile(settings.key_file or state_folder / FILE_NAME)
    if settings.kms_key_id is None:
        return (file,)
    return (KmsKey(settings.kms_key_id, endpoint=settings.kms_endpoint, region=settings.kms_region), file)
