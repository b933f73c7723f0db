"""The keys of the trail: those that sign checkpoints, and the one that makes pseudonyms."""

import hashlib
import hmac
from collections.abc import Mapping
from uuid import UUID

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agent_factory.database import audit as store
from agent_factory.database.pool import Pool
from agent_factory.kit.ids import uuid7
from agent_factory.security.encryption import CannotDecrypt, Place, Vault
from agent_factory.security.encryption.envelope import new_key

log = structlog.stdlib.get_logger(__name__)

_SIGN = "sign"
_PSEUDONYM = "pseudonym"


class Signer(msgspec.Struct, frozen=True):
    """The key that signs now."""

    id: UUID
    key: Ed25519PrivateKey


class Keys:
    """Makes and opens the keys; their secret halves are sealed by the vault, and leave it for memory only."""

    def __init__(self, pool: Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault
        self._signer: Signer | None = None
        self._pseudonym: bytes | None = None

    async def signer(self, source: store.Reads) -> Signer:
        """Give the key that signs now: the newest that our vault sealed; the first is made when it is first needed.

        Who signs asks within the transaction that signs, for there may be a
        newer key since. Raises `Unavailable`, `KeyMissing`, or `CannotDecrypt`
        where no key is ours.
        """
        await self._first(_SIGN)
        newest = reversed(await store.keys(source, _SIGN))
        for key in newest:
            if self._signer is None or self._signer.id != key.id:
                try:
                    private = Ed25519PrivateKey.from_private_bytes(await self._opened(key))
                except CannotDecrypt:
                    log.warning("a key of the audit trail is none of ours, and signs nothing", key_id=str(key.id))
                    continue
                self._signer = Signer(key.id, private)
            return self._signer
        raise CannotDecrypt("No key that signs the audit trail can be opened.")

    async def made(self) -> store.Key:
        """Make a key to sign with; nothing is kept yet."""
        return await self._made(_SIGN)

    async def trusted(self) -> Mapping[UUID, Ed25519PublicKey]:
        """Give the keys whose signatures count: those whose secret half our vault sealed, which nobody else can."""
        trusted: dict[UUID, Ed25519PublicKey] = {}
        for key in await store.keys(self._pool, _SIGN):
            try:
                secret = await self._opened(key)
            except CannotDecrypt:
                continue
            public = Ed25519PrivateKey.from_private_bytes(secret).public_key()
            if public.public_bytes_raw() == key.public_key:
                trusted[key.id] = public
        return trusted

    async def pseudonym(self, name: str) -> str:
        """Give what stands for a name that must not be kept, always the same: HMAC-SHA256, 32 hex digits.

        For what somebody typed at a failed login, such as an e-mail address.
        """
        if self._pseudonym is None:
            self._pseudonym = await self._opened(await self._first(_PSEUDONYM))
        return hmac.new(self._pseudonym, name.strip().lower().encode(), hashlib.sha256).hexdigest()[:32]

    async def _first(self, purpose: str) -> store.Key:
        found = await store.keys(self._pool, purpose)
        if not found:
            await store.add_first_key(self._pool, await self._made(purpose))
            found = await store.keys(self._pool, purpose)
        return found[0]

    async def _made(self, purpose: str) -> store.Key:
        key_id, secret = uuid7(), new_key()
        public = b""
        if purpose == _SIGN:
            public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        sealed = await self._vault.encrypt(None, _place(key_id), secret)
        return store.Key(key_id, purpose, public, sealed)

    async def _opened(self, key: store.Key) -> bytes:
        return await self._vault.decrypt(None, _place(key.id), key.secret_key)


def _place(key_id: UUID) -> Place:
    return Place("audit_keys", "secret_key", key_id)
