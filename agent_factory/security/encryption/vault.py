"""Seals what is secret before it reaches the database, and opens it again (S200, S202)."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent_factory.database import data_keys
from agent_factory.database.base import Sealed
from agent_factory.database.data_keys import DataKey
from agent_factory.database.pool import Pool
from agent_factory.kit.ids import uuid7
from agent_factory.kit.kept import Kept
from agent_factory.security.encryption import envelope
from agent_factory.security.encryption.envelope import Place
from agent_factory.security.encryption.errors import CannotDecrypt, KeyMissing
from agent_factory.security.encryption.wrapping import Wrapper

_SEEN_SECONDS = 60.0
"""How long a process may go on sealing with a key that another has replaced."""


class _Open(msgspec.Struct, frozen=True):
    """An unwrapped data key."""

    id: UUID
    organization_id: UUID | None
    cipher: AESGCM


class Vault:
    """Seals values for one place each, with a data key for each organisation.

    A data key is committed, in a transaction of its own, before anything is
    sealed with it, so that what was sealed can be opened whatever becomes of
    the caller's transaction. `organization_id` is None for what belongs to the
    installation itself, such as the keys that sign tokens.
    """

    def __init__(
        self, pool: Pool, wrappers: Sequence[Wrapper], *, cache_seconds: float = 300.0, cache_keys: int = 1000
    ) -> None:
        """Keep at most `cache_keys` unwrapped keys for `cache_seconds`; the first wrapper wraps new ones."""
        self._pool = pool
        self.wrappers = tuple(wrappers)
        self._opened = Kept[UUID, _Open](cache_seconds, cache_keys)
        self._active = Kept[UUID | None, UUID](min(_SEEN_SECONDS, cache_seconds), cache_keys)

    async def encrypt(
        self, organization_id: UUID | None, place: Place | tuple[str, str, UUID | str], plaintext: bytes
    ) -> Sealed:
        """Seal a value for a table, column and row.

        Raises `KeyMissing`, `KeyServiceAway` or `Unavailable`.
        """
        key = await self._sealing(organization_id)
        return Sealed(envelope.seal(key.cipher, key.id, organization_id, Place(*place), plaintext))

    async def decrypt(
        self, organization_id: UUID | None, place: Place | tuple[str, str, UUID | str], sealed: bytes
    ) -> bytes:
        """Open a value that was sealed for this very organisation, table, column and row.

        Raises `CannotDecrypt` for everything else, and what `encrypt` raises.
        """
        key = await self._opening(envelope.key_id(sealed))
        if key.organization_id != organization_id:
            raise CannotDecrypt("The value was sealed for another organisation.")
        return envelope.unseal(key.cipher, organization_id, Place(*place), sealed)

    def look_again(self, organization_id: UUID | None) -> None:
        """Forget which key an organisation's values are sealed with: there is a new one."""
        self._active.drop(organization_id)

    async def _sealing(self, organization_id: UUID | None) -> _Open:
        known = self._active.get(organization_id)
        if known is not None:
            return await self._opening(known)
        found = await data_keys.active(self._pool, organization_id)
        if found is None:
            await data_keys.add(self._pool, await self.made(organization_id))
            found = await data_keys.active(self._pool, organization_id)
            assert found is not None
        self._active.keep(organization_id, found.id)
        return self._opened.get(found.id) or await self._unwrapped(found)

    async def made(self, organization_id: UUID | None) -> DataKey:
        """Make a data key and wrap it; nothing is kept yet."""
        key_id = uuid7()
        if not await data_keys.wrapping(self._pool):
            await self.wrappers[0].prepare()
        kek, wrapped = await self.wrappers[0].wrap(envelope.new_key(), key_id, organization_id)
        return DataKey(key_id, organization_id, kek, wrapped)

    async def _opening(self, key_id: UUID) -> _Open:
        known = self._opened.get(key_id)
        if known is not None:
            return known
        found = await data_keys.find(self._pool, key_id)
        if found is None:
            raise CannotDecrypt("The key that sealed this is gone.")
        return await self._unwrapped(found)

    async def _unwrapped(self, found: DataKey) -> _Open:
        key = await self.unwrap(found)
        opened = _Open(found.id, found.organization_id, AESGCM(key))
        self._opened.keep(found.id, opened)
        return opened

    async def unwrap(self, found: DataKey) -> bytes:
        """Unwrap a data key, whichever key wrapped it."""
        for wrapper in self.wrappers:
            if wrapper.knows(found.kek):
                return await wrapper.unwrap(found.kek, found.wrapped, found.id, found.organization_id)
        raise KeyMissing(f"The key {found.kek} is not known here; set AF_ENCRYPTION__KEY_FILE or …__KMS_KEY_ID for it.")
