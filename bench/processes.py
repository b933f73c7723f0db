"""CPU and memory of process trees, as the operating system accounts them."""

from collections.abc import Iterable

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """List a process and everything below it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Sum user and system seconds of some process trees, with their children that have ended."""
    total = 0.0
    for pid in pids:
        for process in tree(pid):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def rss_megabytes(pids: Iterable[int], *, without: str = "postgres") -> float:
    """Sum the proportional memory of some trees in MB (PSS where the kernel tells), leaving one program out."""
    total = 0
    for pid in pids:
        for process in tree(pid):
            if without not in process.name():
                total += process.memory_full_info().pss
    return total / 1e6
