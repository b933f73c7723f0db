"""Talking with a process: what it is told, what it prints, and how long it may take."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from agent_factory.core.task import CodeLimits
from agent_factory.runtime.sandbox.frames import out_of_cpu, out_of_time, too_much_output

_GLANCE = 0.05
"""Seconds between looks at the processor time."""


class _Overflow(Exception):
    """More came than may."""


class Pipes(NamedTuple):
    """The ways to and from a process."""

    to: asyncio.StreamWriter
    out: asyncio.StreamReader
    err: asyncio.StreamReader


async def converse(
    pipes: Pipes, limits: CodeLimits, told: bytes, *, most: int, cpu: Callable[[], float] | None = None
) -> tuple[bytes, bytes]:
    """Tell a process its job and read all that it prints, `most` bytes of it on standard output.

    The way in stays open: the runner ends when it closes. Raises `CodeTimeout`
    and `CodeTooMuchOutput`; `cpu` gives the seconds used so far on processors.
    """
    readers = [
        asyncio.create_task(_read(pipes.out, most)),
        asyncio.create_task(_read(pipes.err, limits.output_bytes)),
    ]
    writer = asyncio.create_task(_tell(pipes.to, told))
    until = time.monotonic() + limits.seconds
    waiting: set[asyncio.Task[bytes]] = set(readers)
    try:
        while waiting:
            left = until - time.monotonic()
            if left <= 0:
                raise out_of_time(limits)
            ended, waiting = await asyncio.wait(waiting, timeout=min(left, _GLANCE), return_when="FIRST_COMPLETED")
            if any(isinstance(task.exception(), _Overflow) for task in ended):
                raise too_much_output(limits)
            if cpu is not None and waiting and cpu() > limits.cpu_seconds:
                raise out_of_cpu(limits)
        return readers[0].result(), readers[1].result()
    finally:
        writer.cancel()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def discard(stream: asyncio.StreamReader | None) -> None:
    """Read to the end for nothing."""
    while stream is not None and await stream.read(1 << 16):
        pass


async def _tell(to: asyncio.StreamWriter, told: bytes) -> None:
    with suppress(ConnectionError):
        to.write(told)
        await to.drain()


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    pieces: list[bytes] = []
    left = most
    while piece := await stream.read(1 << 16):
        left -= len(piece)
        if left < 0:
            raise _Overflow
        pieces.append(piece)
    return b"".join(pieces)
