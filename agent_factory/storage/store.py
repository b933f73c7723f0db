"""Values by organisation and SHA-256: written whole or not at all, never changed, checked when they are read."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from agent_factory.kit.clock import now
from agent_factory.storage.errors import (
    ObjectBroken,
    ObjectGone,
    ObjectTooLarge,
    StorageMisconfigured,
    StorageUnavailable,
)
from agent_factory.storage.settings import StorageSettings

if TYPE_CHECKING:  # the library has these names for type checkers only
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

_ORGANIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FRESH = timedelta(hours=12)
"""A value that is stored again within this time is not written again; later, its age begins anew."""

_RETRIES = 4
_THREAD_BYTES = 1_000_000
"""From here on, a digest is worth a thread."""


class Item(msgspec.Struct, frozen=True):
    """A value as a listing shows it; `changed_at` is when it was last stored."""

    digest: str
    bytes: int
    changed_at: datetime


class Store:
    """The object store of one installation; every method keeps to one organisation.

    What goes wrong is `ObjectGone`, `ObjectBroken`, `ObjectTooLarge` or
    `StorageUnavailable`, which may pass.
    """

    def __init__(self, settings: StorageSettings, folder: Path) -> None:
        """Open the store that the settings name, else `folder`; reaches for nothing yet."""
        self._most = settings.max_bytes
        self._sync = settings.sync
        self._store = open_store(settings, folder)
        self._root = self._store.prefix if isinstance(self._store, LocalStore) else None

    async def put(self, organization_id: str, data: bytes) -> str:
        """Store a value and return its digest; the same value again changes nothing but its age."""
        if len(data) > self._most:
            raise ObjectTooLarge(f"It has {len(data)} bytes; at most {self._most} are stored as one value.")
        digest = await _digest(data)
        key = _key(organization_id, digest)
        with _told():
            if not await self._has(key, len(data)):
                await obstore.put_async(self._store, key, data, use_multipart=None if self._root is None else False)
            if self._root is not None and self._sync:
                # Also of a file that was there: whoever wrote it may not have come so far yet.
                await asyncio.to_thread(_settle, self._root, self._root / key)
        return digest

    async def _has(self, key: str, size: int) -> bool:
        try:
            found = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return False
        return found["size"] == size and now() - found["last_modified"] < _FRESH

    async def get(self, organization_id: str, digest: str) -> bytes:
        """Return a value, once its content has proved to be what the digest says."""
        key = _key(organization_id, digest)
        with _told():
            try:
                answer = await obstore.get_async(self._store, key)
                if answer.meta["size"] > self._most:
                    raise ObjectTooLarge(f"It has {answer.meta['size']} bytes; at most {self._most} are read.")
                data = bytes(await answer.bytes_async())
            except FileNotFoundError:
                raise ObjectGone(f"The value {digest[:12]}… is not stored here, or no longer.") from None
        if await _digest(data) != digest:
            raise ObjectBroken(f"The value {digest[:12]}… was changed or cut in the store.")
        return data

    async def items(self, organization_id: str) -> AsyncGenerator[Item, None]:
        """List an organisation's values, in no order."""
        with _told():
            pages = obstore.list(self._store, _folder(organization_id), chunk_size=1000)  # pyright: ignore[reportUnknownMemberType] - one of its forms gives tables of a library that is not here
            async for page in pages:
                for found in page:
                    digest = found["path"].rpartition("/")[2]
                    if _DIGEST.fullmatch(digest):
                        yield Item(digest, found["size"], found["last_modified"])

    async def delete(self, organization_id: str, digests: Sequence[str]) -> None:
        """Delete values; those that are not there are no error."""
        keys = [_key(organization_id, digest) for digest in digests]
        with _told():
            for start in range(0, len(keys), 1000):
                await self._delete(keys[start : start + 1000])

    async def _delete(self, keys: list[str]) -> None:
        try:
            await obstore.delete_async(self._store, keys)
        except FileNotFoundError:  # a folder stops at the first that is not there
            for key in keys:
                try:
                    await obstore.delete_async(self._store, key)
                except FileNotFoundError:
                    continue

    async def expire(self, organization_id: str, before: datetime) -> int:
        """Delete the values that were last stored before a time, and return how many.

        A run names values that it stored at any time since it began: `before`
        must lie a day before the oldest run that is to be kept.
        """
        old: list[str] = []
        count = 0
        async for item in self.items(organization_id):
            if item.changed_at < before:
                old.append(item.digest)
            if len(old) >= 1000:  # noqa: PLR2004 - as many as one request may name
                await self.delete(organization_id, old)
                count += len(old)
                old = []
        await self.delete(organization_id, old)
        return count + len(old)

    async def clear(self, organization_id: str) -> int:
        """Delete every value of an organisation, and return how many there were."""
        return await self.expire(organization_id, now() + timedelta(days=1))


def open_store(settings: StorageSettings, folder: Path) -> "ObjectStore":
    """Open the object store that the settings name, else a folder; raises `StorageMisconfigured`."""
    url = settings.url
    try:
        if url is None or url.startswith("file:"):
            path = folder if url is None else Path(LocalStore.from_url(url, mkdir=True).prefix or "/")
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return LocalStore(path.resolve(), automatic_cleanup=True)
        options = {name: value.get_secret_value() for name, value in settings.options.items()}
        plain = any(v.startswith("http://") for k, v in options.items() if "endpoint" in k)
        limit = timedelta(seconds=settings.timeout)
        client: ClientConfig = {"timeout": limit, "allow_http": plain}
        retry: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": limit}
        # Its type lists S3's options; each store checks the names of its own.
        return from_url(url, config=cast("S3Config", options), client_options=client, retry_config=retry)
    except (BaseError, ValueError, OSError) as error:
        raise StorageMisconfigured(
            f"storage.url and storage.options name no store that can be opened ({_first_line(error)})."
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _folder(organization_id: str) -> str:
    if not _ORGANIZATION.fullmatch(organization_id):
        raise ObjectGone("Values belong to an organisation; this is the name of none.")
    return organization_id


def _key(organization_id: str, digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ObjectGone("Values are named by their SHA-256 in hex; this is none.")
    return f"{_folder(organization_id)}/{digest[:2]}/{digest}"


async def _digest(data: bytes) -> str:
    if len(data) < _THREAD_BYTES:
        return hashlib.sha256(data).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


@contextmanager
def _told() -> Generator[None, None, None]:
    """Tell what went wrong underneath without the store's own words, which hold addresses and paths."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise StorageUnavailable(
            f"The object store failed ({type(error).__name__}); look at its state and at storage.url."
        ) from error


def _settle(root: Path, file: Path) -> None:
    """Bring a file, and the folders that lead to it, from memory to the disk."""
    for path in (file, file.parent, file.parent.parent, root):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
