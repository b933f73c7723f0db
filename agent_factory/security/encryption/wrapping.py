"""What wraps data keys: the port, whichever key stands behind it."""

from typing import Protocol
from uuid import UUID


class Wrapper(Protocol):
    """Key-encryption keys of one kind; each has a name that a wrapped key is stored with."""

    async def prepare(self) -> None:
        """Make the first key where that is ours to do; asked only while nothing is wrapped yet."""
        ...

    async def current(self) -> str:
        """Name the key that wraps now."""
        ...

    def knows(self, name: str) -> bool:
        """Tell whether a key's name is of this kind."""
        ...

    async def wrap(self, data_key: bytes, key_id: UUID, organization_id: UUID | None) -> tuple[str, bytes]:
        """Wrap a data key; give the name of the key that did it, and the wrapped one."""
        ...

    async def unwrap(self, name: str, wrapped: bytes, key_id: UUID, organization_id: UUID | None) -> bytes:
        """Give the data key; raises `KeyMissing` or `CannotDecrypt`."""
        ...

    def where(self) -> str:
        """Say for people where the key is."""
        ...
