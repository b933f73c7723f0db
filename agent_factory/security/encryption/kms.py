"""The key-encryption key in AWS KMS, which never leaves it."""

import functools
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeAlias
from uuid import UUID

from agent_factory.core.deadline import ExhaustedError, OverdueError, in_thread
from agent_factory.kit.errors import Invalid
from agent_factory.security.encryption.errors import CannotDecrypt, KeyMissing, KeyServiceAway

KIND = "kms:"
_SECONDS = 20.0
_CONNECT_SECONDS = 5
_READ_SECONDS = 10
_ATTEMPTS = 3
_NOT_OURS = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_NO_KEY = frozenset({"NotFoundException", "AccessDeniedException", "DisabledException", "KMSInvalidStateException"})

Client: TypeAlias = Any
"""boto3 declares no types; this name says what is meant."""


class KmsKey:
    """A symmetric key of AWS KMS, by its id, ARN or alias; credentials come from AWS's usual chain.

    Organisation and data key are the encryption context, so that KMS itself
    refuses a wrapped key that was moved, and CloudTrail tells which was asked for.
    """

    def __init__(self, key_id: str, *, endpoint: str | None = None, region: str | None = None) -> None:
        """Ask nothing yet; without boto3 it is `Invalid`."""
        try:  # an optional dependency: agent-factory[aws]
            self._boto3 = import_module("boto3")
            self._config = import_module("botocore.config")
            self._errors = import_module("botocore.exceptions")
        except ImportError:
            raise Invalid("AWS KMS needs the package boto3; install agent-factory[aws].") from None
        self._key_id = key_id
        self._endpoint = endpoint
        self._region = region

    def knows(self, name: str) -> bool:
        """Tell whether a key's name is that of a key in KMS."""
        return name.startswith(KIND)

    async def prepare(self) -> None:
        """Make nothing: the key is made in AWS."""

    async def current(self) -> str:
        """Name the key's ARN, which an alias leads to."""
        told = await self._ask(lambda client: client.describe_key(KeyId=self._key_id))
        return KIND + told["KeyMetadata"]["Arn"]

    async def wrap(self, data_key: bytes, key_id: UUID, organization_id: UUID | None) -> tuple[str, bytes]:
        """Have KMS encrypt a data key."""
        context = _context(key_id, organization_id)
        told = await self._ask(
            lambda client: client.encrypt(KeyId=self._key_id, Plaintext=data_key, EncryptionContext=context)
        )
        return KIND + told["KeyId"], told["CiphertextBlob"]

    async def unwrap(self, name: str, wrapped: bytes, key_id: UUID, organization_id: UUID | None) -> bytes:
        """Have KMS decrypt a data key, with the key that wrapped it."""
        context = _context(key_id, organization_id)
        arn = name.removeprefix(KIND)
        told = await self._ask(
            lambda client: client.decrypt(KeyId=arn, CiphertextBlob=wrapped, EncryptionContext=context)
        )
        return told["Plaintext"]

    def where(self) -> str:
        """Name the key as the settings do."""
        return f"AWS KMS, {self._key_id}"

    async def _ask(self, call: Callable[[Client], Mapping[str, Any]]) -> Mapping[str, Any]:
        try:
            return await in_thread(lambda: call(self._client), _SECONDS)
        except self._errors.ClientError as error:
            raise _meant(error.response.get("Error", {}).get("Code", "")) from None
        except (self._errors.BotoCoreError, OverdueError, ExhaustedError) as error:
            raise KeyServiceAway(f"AWS KMS cannot be asked ({type(error).__name__}).") from None

    @functools.cached_property
    def _client(self) -> Client:
        # a session of its own: boto3's default one is shared with whatever else uses it, and is not made for threads
        return self._boto3.session.Session(region_name=self._region).client(
            "kms",
            endpoint_url=self._endpoint,
            config=self._config.Config(
                connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries={"max_attempts": _ATTEMPTS}
            ),
        )


def _context(key_id: UUID, organization_id: UUID | None) -> dict[str, str]:
    return {"organization": str(organization_id or "system"), "data_key": str(key_id)}


def _meant(code: str) -> Exception:
    if code in _NOT_OURS:
        return CannotDecrypt("A data key was changed, or belongs to another organisation.")
    if code in _NO_KEY:
        return KeyMissing(f"AWS KMS does not let this server use its key ({code}).")
    return KeyServiceAway(f"AWS KMS refused the call ({code}).")
