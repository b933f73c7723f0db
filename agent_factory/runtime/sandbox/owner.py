"""Which process something was started by, so that what it left behind can be told from what it still needs."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

MARK = "AGENT_FACTORY_OWNER"
"""The variable by which the processes around a sandbox are known."""

_MARKED = f"{MARK}=".encode()


class Owner(msgspec.Struct, frozen=True):
    """A process: the boot and process namespace that it lives in, its number, and when it started."""

    place: str
    pid: int
    started: int

    @classmethod
    def current(cls) -> Self:
        """Give this process."""
        pid = os.getpid()
        return cls(_place(), pid, started(pid))

    def __str__(self) -> str:
        return f"{self.place}.{self.pid}.{self.started}"

    def died(self, other: str) -> bool:
        """Tell whether the owner written as `other` has died; of another machine's processes nothing is known."""
        place, _, rest = other.rpartition(".")[0].rpartition(".")
        pid, start = rest, other.rpartition(".")[2]
        return place == self.place and pid.isdigit() and str(started(int(pid))) != start


def end_orphans(me: Owner) -> None:
    """End the processes that carry the `MARK` of an owner who has died.

    The kernel ends sandboxes with their server; but bubblewrap, when it dies at
    one certain moment of building one, leaves a process that waits for ever.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            descriptor = os.pidfd_open(int(folder.name))
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
                owners = [v.decode("ascii", "replace").partition("=")[2] for v in variables if v.startswith(_MARKED)]
                if owners and me.died(owners[0]):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)


def started(pid: int) -> int:
    """Give when a process started, in the kernel's ticks, so that a number used again is told apart; 0 when gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def _place() -> str:
    parts: list[str] = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "-".join(parts)
