"""The key-encryption key in a file that only its owner reads."""

import base64
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
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
    """The keys of one file, the first of them in use.

    The file is read again once it has changed, so that nothing is wrapped any
    more by a key that was replaced. What was read before still unwraps while
    the file is away.
    """

    def __init__(self, path: Path) -> None:
        """Touch nothing yet."""
        self.path = path
        self._keys: dict[str, AESGCM] = {}
        self._seen: tuple[int, ...] = ()

    async def prepare(self) -> None:
        """Make the file where there is none."""
        self._prepare()

    def knows(self, name: str) -> bool:
        """Tell whether a key's name is that of a key in a file."""
        return name.startswith(KIND)

    async def current(self) -> str:
        """Name the first key."""
        return next(iter(self._read()))

    async def wrap(self, data_key: bytes, key_id: UUID, organization_id: UUID | None) -> tuple[str, bytes]:
        """Wrap with the first key."""
        name, cipher = next(iter(self._read().items()))
        nonce = os.urandom(_NONCE_BYTES)
        return name, nonce + cipher.encrypt(nonce, data_key, _beside(name, key_id, organization_id))

    async def unwrap(self, name: str, wrapped: bytes, key_id: UUID, organization_id: UUID | None) -> bytes:
        """Unwrap with the named key; the file is read where the name is new."""
        cipher = self._keys.get(name) or self._read().get(name)
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

    def add(self, *, first: bool = False) -> str:
        """Put a new key before the others, and give its name.

        A file that is not there is `KeyMissing`, for others may have been
        wrapped by what was in it; only with `first` it is made.
        """
        if first:
            self._prepare()
        self._read()
        with _broken("changed"), _alone(self.path.resolve().parent):
            lines = self.path.read_text().splitlines()
            _replace(self.path, [_line(new_key()), *(line for line in lines if line.startswith(_MARK))])
        return next(iter(self._read()))

    def _prepare(self) -> None:
        with _broken("made"), suppress(FileExistsError):
            if not self.path.exists():
                _make(self.path)

    def _read(self) -> dict[str, AESGCM]:
        """Give the keys that the file holds now."""
        with _broken("read"):
            try:
                state = self.path.stat()
            except FileNotFoundError:
                raise KeyMissing(
                    "The key file is gone; put it back, for a new one would open nothing that is sealed."
                ) from None
            seen = (state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size)
            if seen != self._seen:
                _refuse_exposed(state)
                self._keys = _keys(self.path.read_text())
                self._seen = seen
        return self._keys


def _keys(text: str) -> dict[str, AESGCM]:
    keys = [_key(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not keys:
        raise KeyFileBroken("The key file holds no key.")
    return {_name(key): AESGCM(key) for key in keys}


@contextmanager
def _broken(what: str) -> Generator[None, None, None]:
    """Say of whatever the system refuses what could not be done; its own words would tell where the file is."""
    try:
        yield
    except UnicodeDecodeError:
        raise KeyFileBroken("The key file is no text.") from None
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise KeyFileBroken(
                "The key file is mounted by itself; add the new key where it is mounted from."
            ) from None
        raise KeyFileBroken(f"The key file cannot be {what} by this process ({error.strerror}).") from None


@contextmanager
def _alone(where: Path) -> Generator[None, None, None]:
    """Wait until no other process changes a file of this folder, for one that was read before would be lost."""
    folder = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


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


def _refuse_exposed(state: os.stat_result) -> None:
    # a file that an orchestrator mounts belongs to root, and its group is the only way to read it
    open_to = _OTHERS if state.st_uid == os.geteuid() else _OTHERS_BUT_GROUP
    if state.st_mode & open_to:
        raise KeyFileExposed("Others can read the key file; run chmod 600 on it.")


def _written(path: Path, lines: Iterable[str], like: os.stat_result | None = None) -> Path:
    """Write a new file beside this one, with the owner and the rights of the one that it will replace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w") as file:  # noqa: PTH123 - opened with its mode
            if like is not None:
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(like.st_mode))
            file.write(_ABOUT + "".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    return fresh


def _make(path: Path) -> None:
    """Make the file whole or not at all; for all but the first of several processes that is `FileExistsError`."""
    fresh = _written(path, [_line(new_key())])
    try:
        os.link(fresh, path)
    finally:
        fresh.unlink()
    _settled(path)


def _replace(path: Path, lines: Iterable[str]) -> None:
    path = path.resolve()
    fresh = _written(path, lines, path.stat())
    try:
        fresh.replace(path)
    except OSError:
        fresh.unlink()
        raise
    _settled(path)


def _settled(path: Path) -> None:
    """Have the file's name on the disk before anything is wrapped by its key: a crash must not bring back the old."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
