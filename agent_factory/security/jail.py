"""A folder that nobody reads or writes out of: no `..`, no links, no races, a quota (S81)."""

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agent_factory.kit.errors import Conflict, FieldError, Invalid, Kind, NotFound, Problem, Unavailable
from agent_factory.kit.ids import uuid7

_MAX_PATH = 1_024
_MAX_NAME = 255
_MAX_DEPTH = 16
_LOCK_SECONDS = 5.0
_PART = ".agent-factory-"
"""Begins the name of a file that is being written; one that is left over is removed by the next write."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class FileRefused(Problem):
    """A link, a device or another thing that is no plain file or folder."""

    kind = Kind.FORBIDDEN
    code = "file_refused"
    title = "This file may not be used"


class FileTooLarge(Problem):
    """A file larger than one file may be."""

    kind = Kind.TOO_LARGE
    code = "file_too_large"
    title = "The file is too large"


class QuotaExceeded(Problem):
    """A write past what the folder may hold."""

    kind = Kind.LIMITED
    code = "file_quota_exceeded"
    title = "The folder is full"


class Quota(msgspec.Struct, frozen=True):
    """What a folder may hold: bytes in all, entries (files and folders) in all, bytes of one file."""

    total_bytes: int = 100_000_000
    entries: int = 1_000
    file_bytes: int = 10_000_000


class Item(msgspec.Struct, frozen=True):
    """A file or folder as a listing shows it; `size` in bytes, 0 for a folder."""

    path: str
    type: str
    size: int


class _Usage(msgspec.Struct):
    total_bytes: int = 0
    entries: int = 0


class Jail:
    """The files below `root` (and below `folder` in it).

    Every step of a path is opened relative to the folder before it and never
    through a link, so that a folder which is swapped for a link in the middle
    of a call leads nowhere. Methods block; give them a thread.
    """

    def __init__(self, root: Path, folder: str = "", quota: Quota | None = None) -> None:
        """Touch nothing yet; a `folder` that is no path inside is `Invalid`."""
        self._root = root
        self._base = _parts(folder, "/folder")
        self._quota = quota or Quota()

    def read(self, path: str) -> bytes:
        """Give a file's content; raises `NotFound`, `FileRefused`, `FileTooLarge`."""
        parts = _file_parts(path)
        with self._folder(parts[:-1]) as folder:
            return self._read_at(folder, parts[-1], path)

    def write(self, path: str, data: bytes, *, append: bool = False, replace: bool = True) -> int:
        """Write a file at once or not at all, making its folders; give its size.

        Raises `Conflict` when it exists and neither flag is set, `FileTooLarge`, `QuotaExceeded`.
        """
        parts = _file_parts(path)
        with self._locked(), self._folder(parts[:-1], create=True) as folder:
            before = self._existing(folder, parts[-1], path)
            if before is not None and not (append or replace):
                raise Conflict(f"{path!r} exists already.")
            content = self._read_at(folder, parts[-1], path) + data if append and before is not None else data
            self._check(len(content), path, before)
            self._replace(folder, parts[-1], content, path)
        return len(content)

    def delete(self, path: str) -> None:
        """Remove a file, an empty folder or a link itself; raises `NotFound`, `Conflict`."""
        parts = _file_parts(path)
        with self._folder(parts[:-1]) as folder, _told(path):
            if stat.S_ISDIR(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode):
                os.rmdir(parts[-1], dir_fd=folder)
            else:
                os.unlink(parts[-1], dir_fd=folder)

    def walk(self, path: str = "", *, deep: bool = True) -> Iterator[Item]:
        """List files and folders below a folder, by name; what is no plain file or folder is left out."""
        parts = _parts(path, "/folder")
        with self._folder(parts) as folder:
            yield from _items(folder, "/".join(parts), deep=deep)

    @contextmanager
    def _folder(self, parts: list[str], *, create: bool = False) -> Generator[int, None, None]:
        """Open a folder step by step, none of the steps through a link."""
        with contextlib.ExitStack() as opened:
            here = self._open_root()
            opened.callback(os.close, here)
            for index, part in enumerate([*self._base, *parts]):
                with _told(part):
                    if create or index < len(self._base):
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(part, 0o700, dir_fd=here)
                    here = os.open(part, _FOLDER, dir_fd=here)
                opened.callback(os.close, here)
            yield here

    def _open_root(self) -> int:
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            raise Unavailable("The folder for files cannot be opened; the operator has to look at it.") from None

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        """Let one writer in, across threads and processes, so that two together cannot pass the quota."""
        root = self._open_root()
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise Unavailable("The folder is busy with other writes.") from None
                    time.sleep(0.005)
            yield
        finally:
            os.close(root)

    def _read_at(self, folder: int, name: str, path: str) -> bytes:
        with _told(path):
            # without O_NONBLOCK, opening a pipe would wait for its writer
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            facts = os.fstat(file)
            if stat.S_ISDIR(facts.st_mode):
                raise Conflict(f"{path!r} is a folder.")
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
                raise FileRefused(f"{path!r} is no plain file.")
            with os.fdopen(file, "rb", closefd=False) as opened:
                data = opened.read(self._quota.file_bytes + 1)
        finally:
            os.close(file)
        if len(data) > self._quota.file_bytes:
            raise FileTooLarge(f"{path!r} has more than {self._quota.file_bytes} bytes.")
        return data

    def _existing(self, folder: int, name: str, path: str) -> int | None:
        try:
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(facts.st_mode):
            raise Conflict(f"{path!r} is a folder.")
        if not stat.S_ISREG(facts.st_mode):
            raise FileRefused(f"{path!r} is no plain file.")
        return facts.st_size

    def _check(self, size: int, path: str, before: int | None) -> None:
        if size > self._quota.file_bytes:
            raise FileTooLarge(f"{path!r} would have more than {self._quota.file_bytes} bytes.")
        with self._folder([]) as base:
            used = _Usage()
            _measure(base, used)
        if used.total_bytes - (before or 0) + size > self._quota.total_bytes:
            raise QuotaExceeded(f"The folder may hold {self._quota.total_bytes} bytes; delete something first.")
        if used.entries + (before is None) > self._quota.entries:
            raise QuotaExceeded(f"The folder may hold {self._quota.entries} entries; delete something first.")

    def _replace(self, folder: int, name: str, content: bytes, path: str) -> None:
        part = f"{_PART}{uuid7().hex}"
        with _told(path):
            file = os.open(
                part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
            )
            try:
                with os.fdopen(file, "wb") as opened:
                    opened.write(content)
                os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(part, dir_fd=folder)
                raise


def _parts(path: str, at: str) -> list[str]:
    """Read a path inside the jail; whatever could lead out, or means nothing, is `Invalid`."""
    fault = _fault(path)
    parts = [p for p in path.split("/") if p != "."] if path not in {"", "."} else []
    if not fault:
        fault = next((found for found in map(_name_fault, parts) if found), "")
    if not fault and len(parts) > _MAX_DEPTH:
        fault = f"is deeper than {_MAX_DEPTH} folders"
    if fault:
        raise Invalid(f"This path cannot be used: it {fault}.", errors=[FieldError(at, fault)])
    return parts


def _file_parts(path: str) -> list[str]:
    parts = _parts(path, "/path")
    if not parts:
        raise Invalid("This path names no file.", errors=[FieldError("/path", "names no file")])
    return parts


def _fault(path: str) -> str:
    if path.startswith("/"):
        return "is absolute; name a file relative to the folder"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "is no valid Unicode text"
    if len(path) > _MAX_PATH:
        return f"is longer than {_MAX_PATH} characters"
    if any(c < " " or c == "\x7f" for c in path):
        return "has a control character"
    if "\\" in path:
        return "has a backslash; folders are divided by /"
    return ""


def _name_fault(name: str) -> str:
    if name == "":
        return "has an empty part"
    if name == "..":
        return "leads upwards"
    if len(name.encode()) > _MAX_NAME:
        return f"has a name longer than {_MAX_NAME} bytes"
    if _DEVICE.fullmatch(name) or name.startswith(_PART):
        return "has a reserved name"
    return ""


def _items(folder: int, at: str, *, deep: bool) -> Iterator[Item]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda e: e.name)
    for entry in entries:
        path = f"{at}/{entry.name}" if at else entry.name
        with contextlib.suppress(OSError):  # it is gone, or has become something else: it is not listed
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(facts.st_mode) and not entry.name.startswith(_PART):
                yield Item(path, "file", facts.st_size)
            elif stat.S_ISDIR(facts.st_mode):
                yield Item(path, "folder", 0)
                if deep and path.count("/") < _MAX_DEPTH:
                    below = os.open(entry.name, _FOLDER, dir_fd=folder)
                    try:
                        yield from _items(below, path, deep=True)
                    finally:
                        os.close(below)


def _measure(folder: int, used: _Usage) -> None:
    """Count what a folder holds, and remove what unfinished writes have left; only under the lock."""
    with os.scandir(folder) as found:
        for entry in found:
            with contextlib.suppress(OSError):
                if entry.name.startswith(_PART):
                    os.unlink(entry.name, dir_fd=folder)
                    continue
                used.entries += 1
                if not entry.is_dir(follow_symlinks=False):
                    used.total_bytes += entry.stat(follow_symlinks=False).st_size
                    continue
                below = os.open(entry.name, _FOLDER, dir_fd=folder)
                try:
                    _measure(below, used)
                finally:
                    os.close(below)


@contextmanager
def _told(path: str) -> Generator[None, None, None]:
    """Turn the system's errors into ours, without its paths."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOENT:
                raise NotFound(f"There is no {path!r}.") from None
            case errno.ELOOP:
                raise FileRefused(f"{path!r} is a link; links are not followed.") from None
            case errno.ENOTDIR:
                raise FileRefused(f"{path!r} is no folder, or is a link to one.") from None
            case errno.EEXIST | errno.ENOTEMPTY:
                raise Conflict(f"{path!r} is not empty.") from None
            case errno.EISDIR:
                raise Conflict(f"{path!r} is a folder.") from None
            case errno.ENXIO | errno.ENODEV:
                raise FileRefused(f"{path!r} is no plain file.") from None
            case errno.ENAMETOOLONG:
                raise Invalid("The path is too long.", errors=[FieldError("/path", "is too long")]) from None
            case errno.ENOSPC | errno.EDQUOT | errno.EMFILE | errno.ENFILE:
                raise Unavailable("The server has no room for this now.") from None
            case _:
                raise FileRefused(f"{path!r} cannot be used: {os.strerror(error.errno or 0)}.") from None
