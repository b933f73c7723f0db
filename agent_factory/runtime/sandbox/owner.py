"""Which process something was started by, so that what it left behind can be told from what it still needs."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec


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
