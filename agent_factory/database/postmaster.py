"""The server's process: what it says of itself, and how it ends."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent_factory.database.system_user import NotStarted

_PR_SET_PDEATHSIG = 1


def ready(data: Path, pid: int) -> bool:
    """Whether this very process says in its pid file that it takes connections."""
    with suppress(FileNotFoundError, IndexError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        return lines[0] == str(pid) and lines[7].strip() == "ready"
    return False


def running(data: Path) -> int | None:
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
        raise NotStarted(f"{data} belongs to another system user; run as that user, or set AF_DATABASE__URL.") from None
    return pid


def end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Send a signal and wait until the process has obeyed."""
    process.send_signal(how)
    process.wait()


def forget_stranger(data: Path) -> None:
    """Remove a pid file whose number now belongs to some other process: PostgreSQL itself would refuse to start."""
    note = data / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError):
        pid = int(note.read_text().partition("\n")[0])
        if sys.platform == "linux" and Path(f"/proc/{pid}").exists() and running(data) is None:
            note.unlink()


def end_with_parent(parent: int) -> Callable[[], None] | None:
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
