"""Runs snippets in a process of their own, started as a script; standard input and output are its frames.

monty's threads may still touch Python when that comes down, which then aborts
the process (PyO3/pyo3-async-runtimes#40). This one is left without taking
Python down; the server's never has such threads. It knows nothing of the rest
of the product, nor its environment.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import msgspec
from pydantic_monty import (
    AsyncMonty,
    Frame,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySyntaxError,
)

_RECURSION = 500
_MOST_FRAME = 2**32 - 1
_FIRST_FEED = "<python-input-0>"
"""What monty calls the user's code in its traces."""

_AFTER = "\nNone"
"""So that nothing but the checked result crosses to this process."""

_RESULT = """
import json as _json

def _checked(result):
    text = _json.dumps(result, allow_nan=False, ensure_ascii=False)
    stack = [result]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            for key in each:
                if not isinstance(key, str):
                    raise TypeError(f"`result` has a key of the type {type(key).__name__}; keys are texts")
            stack.extend(each.values())
        elif isinstance(each, (list, tuple)):
            stack.extend(each)
        elif isinstance(each, int) and not -9223372036854775808 <= each <= 18446744073709551615:
            raise ValueError("`result` has a whole number of more than 64 bits; give it as a text")
    return text

try:
    result
except NameError:
    result = None
_checked(result)
"""
"""Runs after the user's code, in the same interpreter and within the same memory."""

How = Literal["done", "failed", "time", "cpu", "memory", "output", "lost"]


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A job: code in UTF-8 with surrogates, inputs in JSON, limits in seconds and bytes. Without code, a job's end."""

    id: int
    code: bytes | None = None
    inputs: bytes = b"{}"
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: int = 0
    output: int = 0


class Told(msgspec.Struct, frozen=True, array_like=True):
    """How a job ended. `result` is JSON; `line` and `trace` are places in the code that failed."""

    id: int
    how: How
    result: bytes = b""
    message: str = ""
    line: int | None = None
    trace: tuple[tuple[int, str], ...] = ()
    stdout: str = ""
    stderr: str = ""


class Printed:
    """What code prints, up to a limit; past it, the code is stopped."""

    def __init__(self, most: int) -> None:
        """Start with nothing printed."""
        self.full = False
        self._left = most
        self._pieces: list[tuple[str, str]] = []
        self._stop: Callable[[], object] | None = None

    def __call__(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        """Take a piece; monty calls from a thread of its own."""
        self._left -= len(text)
        if self._left >= 0:
            self._pieces.append((stream, text))
        elif not self.full:
            self.full = True
            if self._stop is not None:
                self._stop()

    def stop_by(self, clock: asyncio.Timeout) -> None:
        """Let a flood end the time at once."""
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(_end, clock, loop.time())

    def text(self, stream: str) -> str:
        """Give what went to one of the two streams."""
        return "".join(text for where, text in self._pieces if where == stream)


def _end(clock: asyncio.Timeout, now: float) -> None:
    # the code may have ended by itself in the meantime
    with suppress(RuntimeError):
        clock.reschedule(now)


async def run(pool: AsyncMonty, ask: Ask) -> Told:
    """Run a job."""
    printed = Printed(ask.output)
    try:
        async with (
            asyncio.timeout(ask.seconds) as clock,
            pool.checkout(
                limits={
                    "max_feed_duration_secs": min(ask.cpu_seconds, ask.seconds),
                    "max_memory": ask.memory,
                    "max_recursion_depth": _RECURSION,
                    "max_total_sleep_secs": ask.seconds,
                }
            ) as session,
        ):
            printed.stop_by(clock)
            inputs = {"inputs": json.loads(ask.inputs)}
            await session.feed_run(
                (ask.code or b"").decode("utf-8", "surrogatepass") + _AFTER, inputs=inputs, print_callback=printed
            )
            text: object = await session.feed_run(_RESULT)
    except TimeoutError:
        return Told(ask.id, "output" if printed.full else "time")
    except MontyError as error:
        return _failed(ask, error, printed)
    if printed.full:
        return Told(ask.id, "output")
    if not isinstance(text, str):
        return Told(ask.id, "failed", message="`result` is no JSON document.")
    result = text.encode("utf-8", "backslashreplace")
    if len(result) > ask.output:
        return Told(ask.id, "output")
    return Told(ask.id, "done", result, stdout=printed.text("stdout"), stderr=printed.text("stderr"))


def _failed(ask: Ask, error: MontyError, printed: Printed) -> Told:
    if isinstance(error, MontyCrashedError):
        return Told(ask.id, "time" if error.timed_out else "lost")
    if printed.full:
        return Told(ask.id, "output")
    cause = error.exception()
    text = str(cause)
    if isinstance(cause, MemoryError):
        return Told(ask.id, "memory")
    if isinstance(cause, TimeoutError) and "limit exceeded" in text:
        return Told(ask.id, "cpu" if ask.cpu_seconds <= ask.seconds and "feed" in text else "time")
    frames: list[Frame] = error.traceback() if isinstance(error, MontyRuntimeError | MontySyntaxError) else []
    trace = tuple((f.line, f.function_name or "<module>") for f in frames if f.filename == _FIRST_FEED)[-20:]
    line = trace[-1][0] if trace else None
    kind = type(cause).__name__
    message = f"{kind}: {text[:2000]}" if text else kind
    at = "" if line is None else f" (line {line})"
    out, err = printed.text("stdout"), printed.text("stderr")
    return Told(ask.id, "failed", message=f"{message}{at}.", line=line, trace=trace, stdout=out, stderr=err)


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Read one frame; raises `asyncio.IncompleteReadError` at the end."""
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4)))


def frame(message: object) -> bytes:
    """Write one frame."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4) + body


class _Host:
    """The jobs of this process."""

    def __init__(self, pool: AsyncMonty, out: Any) -> None:  # noqa: ANN401 - a binary file
        self._pool = pool
        self._out = out
        self._jobs: dict[int, asyncio.Task[None]] = {}

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Take jobs until there are no more to come."""
        decode = msgspec.msgpack.Decoder(Ask).decode
        with suppress(asyncio.IncompleteReadError):
            while True:
                ask = decode(await read_frame(reader))
                job = self._jobs.get(ask.id)
                if ask.code is not None:
                    self._jobs[ask.id] = asyncio.create_task(self._do(ask))
                elif job is not None:
                    job.cancel()

    async def _do(self, ask: Ask) -> None:
        try:
            self.tell(await run(self._pool, ask))
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it
            self.tell(Told(ask.id, "lost", message=type(error).__name__))
        finally:
            del self._jobs[ask.id]

    def tell(self, told: Told) -> None:
        self._out.write(frame(told))
        self._out.flush()


async def _main(processes: int, seconds: float) -> None:
    reader = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    # the second deadline is for an interpreter that no longer listens to its limits
    async with AsyncMonty(max_processes=processes, request_timeout=seconds) as pool:
        host = _Host(pool, sys.stdout.buffer)
        host.tell(Told(0, "done"))  # the first frame: it can be started
        await host.serve(reader)


if __name__ == "__main__":
    with suppress(BaseException):
        asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
    os._exit(0)
