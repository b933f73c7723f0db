"""The state folder of this machine: the embedded database, who runs, and the owner's key."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")
_OWNER_ONLY = 0o600
_OWNER_ONLY_FOLDER = 0o711
"""Others may pass through, because PostgreSQL runs as another user when we are root; they may list nothing."""


class Credentials(msgspec.Struct, frozen=True):
    """Where the server of this state folder answers, and the key of its first owner."""

    url: str
    api_key: str


class SignedIn(msgspec.Struct, frozen=True):
    """Where somebody has logged in, and the tokens of it; `expires_at` is in seconds of Unix time."""

    url: str
    email: str
    access_token: str
    refresh_token: str
    expires_at: float


class Running(msgspec.Struct, frozen=True):
    """The process that serves this state folder now."""

    pid: int
    url: str


class AlreadyRunning(Exception):
    """Another process holds the state folder; `running` says which, as far as it has told."""

    def __init__(self, running: Running | None) -> None:
        super().__init__("another process serves this state folder")
        self.running = running


def default_home() -> Path:
    """Choose the folder: `.data` where one is, as in a checkout, or else `~/.agent-factory`."""
    here = Path(".data")
    return here.resolve() if here.is_dir() else Path("~/.agent-factory").expanduser()


class State:
    """One state folder. Making the object touches nothing; `claim` makes the folder."""

    def __init__(self, home: Path | None) -> None:
        self.home = (home or default_home()).expanduser().resolve()

    @property
    def postgres(self) -> Path:
        """The data folder of the embedded PostgreSQL."""
        return self.home / "postgres"

    @property
    def credentials(self) -> Credentials | None:
        """The key that `up` left here, if it has."""
        return self._read("credentials.json", Credentials)

    @property
    def running(self) -> Running | None:
        """The process that said it serves this folder; it may have died since."""
        return self._read("server.json", Running)

    def keep(self, credentials: Credentials) -> Path:
        """Write the key, readable by the owner only, and tell where."""
        return self._write("credentials.json", credentials)

    @property
    def signed_in(self) -> SignedIn | None:
        """The login that `login` left here, if it has."""
        return self._read("login.json", SignedIn)

    def keep_login(self, login: SignedIn | None) -> None:
        """Write a login, readable by the owner only; None forgets it."""
        if login is None:
            (self.home / "login.json").unlink(missing_ok=True)
        else:
            self._write("login.json", login)

    @property
    def devices(self) -> dict[str, str]:
        """What servers know this machine by, for each login there has been."""
        return self._read("devices.json", dict[str, str]) or {}

    def keep_device(self, name: str, device: str) -> None:
        """Write what a server knows this machine by."""
        self._write("devices.json", {**self.devices, name: device})

    @contextmanager
    def one_at_a_time(self) -> Generator[None, None, None]:
        """Wait until no other command changes the login: a refresh token works once."""
        self.home.mkdir(mode=_OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        lock = os.open(self.home / "login.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def claim(self) -> Generator[None, None, None]:
        """Hold the folder for this process; raises `AlreadyRunning` when another does.

        The kernel drops the lock with the process, however that one ends.
        """
        self.home.mkdir(mode=_OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(self.running) from None
            yield
        finally:
            os.close(lock)

    def announce(self, url: str) -> None:
        """Say that this process serves the folder, at this address."""
        self._write("server.json", Running(os.getpid(), url))

    def withdraw(self) -> None:
        """Take the announcement back."""
        (self.home / "server.json").unlink(missing_ok=True)

    def _write(self, name: str, record: msgspec.Struct | dict[str, str]) -> Path:
        path = self.home / name
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as file:  # noqa: PTH123 - opened with its mode
            file.write(msgspec.json.encode(record) + b"\n")
        fresh.replace(path)
        return path

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self.home / name).read_bytes(), type=kind)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None
