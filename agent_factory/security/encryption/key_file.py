"""The key-encryption key in a file that only its owner reads."""

import base64
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent_factory.security.encryption.envelope import KEY_BYTES, bound, new_key
from agent_factory.security.encryption.errors import CannotDecrypt, KeyFileBroken, KeyFileExposed, KeyMissing

KIND = "file:"
_MARK = "af-kek-1:"
_NONCE_BYTES = 12
_OWNER_ONLY = 0o600
_OTHERS = 0o077
_OTHERS_BUT_GROUP = 0o037
_ABOUT = """\
# The keys of Agent Factory that encrypt all other keys; the first one is in use.
# Without this file nothing that is encrypted in the database can be read again:
# keep a copy of it, and keep that apart from the copies of the database.
"""


class KeyFile:
    """The keys of one file, the first of them in use."""

    def __init__(self, path: Path) -> None:
        """Touch nothing yet."""
        self.path = path
        self._keys: dict[str, AESGCM] = {}

    async def prepare(self) -> None:
        """Make the file where there is none."""
        with suppress(FileExistsError):
            if not self.path.exists():
                _make(self.path)

    def knows(self, name: str) -> bool:
        """Tell whether a key's name is that of a key in a file."""
        return name.startswith(KIND)

    async def current(self) -> str:
        """Name the first key."""
        return next(iter(self._loaded()))

    async def wrap(self, data_key: bytes, key_id: UUID, organization_id: UUID | None) -> tuple[str, bytes]:
        """Wrap with the first key."""
        name, cipher = next(iter(self._loaded().items()))
        nonce = os.urandom(_NONCE_BYTES)
        return name, nonce + cipher.encrypt(nonce, data_key, _beside(name, key_id, organization_id))

    async def unwrap(self, name: str, wrapped: bytes, key_id: UUID, organization_id: UUID | None) -> bytes:
        """Unwrap with the named key; the file is read again where the name is new."""
        cipher = self._loaded().get(name) or self._read().get(name)
        if cipher is None:
            raise KeyMissing(f"The key {name} is not in the key file of this server; put the right file back.")
        try:
            nonce, inner = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
            return cipher.decrypt(nonce, inner, _beside(name, key_id, organization_id))
        except InvalidTag:
            raise CannotDecrypt("A data key was changed, or belongs to another organisation.") from None

    def where(self) -> str:
        """Name the file."""
        return str(self.path)

    def add(self) -> str:
        """Put a new key before the others, and give its name."""
        kept = self.path.read_text().splitlines() if self.path.exists() else []
        fresh = _line(new_key())
        _replace(self.path, [fresh, *(line for line in kept if line.startswith(_MARK))])
        return next(iter(self._read()))

    def _loaded(self) -> dict[str, AESGCM]:
        return self._keys or self._read()

    def _read(self) -> dict[str, AESGCM]:
        if not self.path.exists():
            raise KeyMissing("The key file is gone; put it back, for a new one would open nothing that is sealed.")
        _refuse_exposed(self.path)
        try:
            lines = self.path.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            raise KeyFileBroken("The key file cannot be read by this process.") from None
        keys = [_key(line) for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise KeyFileBroken("The key file holds no key.")
        self._keys = {_name(key): AESGCM(key) for key in keys}
        return self._keys


def _name(key: bytes) -> str:
    return KIND + hashlib.sha256(b"agent-factory kek" + key).hexdigest()[:16]


def _line(key: bytes) -> str:
    return _MARK + base64.b64encode(key).decode()


def _key(line: str) -> bytes:
    key = b""
    with suppress(ValueError):
        key = base64.b64decode(line.strip().removeprefix(_MARK), validate=True)
    if not line.startswith(_MARK) or len(key) != KEY_BYTES:
        raise KeyFileBroken("A line of the key file is no key.")
    return key


def _beside(name: str, key_id: UUID, organization_id: UUID | None) -> bytes:
    return bound(name.encode(), key_id.bytes, organization_id.bytes if organization_id else b"")


def _refuse_exposed(path: Path) -> None:
    state = path.stat()
    # a file that an orchestrator mounts belongs to root, and its group is the only way to read it
    open_to = _OTHERS if state.st_uid == os.geteuid() else _OTHERS_BUT_GROUP
    if state.st_mode & open_to:
        raise KeyFileExposed(f"Others can read the key file; run: chmod 600 {path}")


def _written(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w") as file:  # noqa: PTH123 - opened with its mode
        file.write(_ABOUT + "".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    return fresh


def _make(path: Path) -> None:
    """Make the file whole or not at all; for all but the first of several processes that is `FileExistsError`."""
    fresh = _written(path, [_line(new_key())])
    try:
        os.link(fresh, path)
    finally:
        fresh.unlink()


def _replace(path: Path, lines: Iterable[str]) -> None:
    _written(path, lines).replace(path)
