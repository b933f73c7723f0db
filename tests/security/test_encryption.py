"""What the vault seals, and who can open it (S200, S202)."""

import os
import stat
from pathlib import Path
from uuid import UUID

import pytest

from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.security.encryption import (
    CannotDecrypt,
    EncryptionSettings,
    KeyFileExposed,
    KeyMissing,
    Place,
    Vault,
    open_vault,
)

SECRET = b"the value of a secret"


def place(row: UUID | None = None) -> Place:
    return Place("secrets", "value", row or uuid7())


async def test_a_sealed_value_opens_where_it_was_sealed_and_shows_nothing(vault: Vault) -> None:
    organization, where = uuid7(), place()
    sealed = await vault.encrypt(organization, where, SECRET)
    assert SECRET not in sealed
    assert await vault.decrypt(organization, where, sealed) == SECRET


async def test_the_same_value_is_never_sealed_the_same_way_twice(vault: Vault) -> None:
    organization, where = uuid7(), place()
    assert len({await vault.encrypt(organization, where, SECRET) for _ in range(50)}) == 50
