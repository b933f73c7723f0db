"""The tier `snippet`: small pure code in pydantic-monty, an interpreter without an operating system."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Literal

import msgspec
from pydantic_monty import (
    AsyncMonty,
    Frame,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySyntaxError,
    ResourceLimits,
)

from agent_factory.core.task import CodeLimits
from agent_factory.kit.errors import Problem
from agent_factory.runtime.sandbox.errors import CodeFailed, SandboxFailed
from agent_factory.runtime.sandbox.frames import (
    MEGABYTE,
    out_of_cpu,
    out_of_memory,
    out_of_time,
    too_much_output,
)
from agent_factory.runtime.sandbox.job import Done, Job, TierStatus
from agent_factory.runtime.sandbox.settings import SandboxSettings

_RECURSION = 500
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


class Snippet:
    """Runs code in worker processes of monty, which are started when the first job comes."""

    def __init__(self, settings: SandboxSettings) -> None:
        """Take the settings; nothing is started."""
        self._settings = settings
        self._open = AsyncExitStack()
        self._pool: AsyncMonty | None = None
        self._opening = asyncio.Lock()

    async def status(self) -> TierStatus:
        """Tell whether monty's program can be started."""
        try:
            await self._workers()
        except OSError:
            hint = "The program `monty` is missing; install pydantic-monty with its runtime."
            return TierStatus("snippet", available=False, hint=hint)
        return TierStatus("snippet", available=True, hint="")

    async def close(self) -> None:
        """End the workers."""
        await self._open.aclose()
        self._pool = None

    async def run(self, job: Job) -> Done:
        """Run a job; raises the problems of `errors`."""
        began = time.monotonic()
        pool = await self._workers()
        printed = _Printed(job.limits.output_bytes)
        try:
            async with (
                asyncio.timeout(job.limits.seconds) as clock,
                pool.checkout(limits=_limits(job.limits)) as session,
            ):
                printed.stop_by(clock)
                await session.feed_run(job.code + _AFTER, inputs={"inputs": job.inputs}, print_callback=printed)
                text = await session.feed_run(_RESULT)
            if printed.full:
                raise too_much_output(job.limits)
            result = _decoded(text, job.limits)
        except TimeoutError:
            raise too_much_output(job.limits) if printed.full else out_of_time(job.limits) from None
        except MontyError as error:
            raise _problem(error, job.limits, printed) from error
        return Done(
            result=result,
            stdout=printed.text("stdout"),
            stderr=printed.text("stderr"),
            tier="snippet",
            duration_ms=int((time.monotonic() - began) * 1000),
            cpu_seconds=None,
            peak_memory=None,
        )

    async def _workers(self) -> AsyncMonty:
        async with self._opening:
            if self._pool is None:
                pool = AsyncMonty(
                    max_processes=self._settings.concurrency,
                    # behind the limits of each job, for a worker that no longer listens to them
                    request_timeout=self._settings.most.seconds + 5,
                )
                self._pool = await self._open.enter_async_context(pool)
            return self._pool


class _Printed:
    """What code prints, up to a limit; past it, the code is stopped."""

    def __init__(self, most: int) -> None:
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


def _limits(limits: CodeLimits) -> ResourceLimits:
    return {
        "max_feed_duration_secs": min(limits.cpu_seconds, limits.seconds),
        "max_memory": limits.memory_mb * MEGABYTE,
        "max_recursion_depth": _RECURSION,
        "max_total_sleep_secs": limits.seconds,
    }


def _decoded(text: object, limits: CodeLimits) -> object:
    if not isinstance(text, str):
        raise CodeFailed("`result` is no JSON document.")
    body = text.encode("utf-8", "backslashreplace")
    if len(body) > limits.output_bytes:
        raise too_much_output(limits)
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CodeFailed("`result` is no JSON document, or one that is too deep.") from None


def _problem(error: MontyError, limits: CodeLimits, printed: _Printed) -> Problem:
    if isinstance(error, MontyCrashedError):
        return (
            out_of_time(limits) if error.timed_out else SandboxFailed("The interpreter ended in the middle; try again.")
        )
    if printed.full:
        return too_much_output(limits)
    cause = error.exception()
    text = str(cause)
    if isinstance(cause, MemoryError):
        return out_of_memory(limits)
    if isinstance(cause, TimeoutError) and "limit exceeded" in text:
        return out_of_cpu(limits) if limits.cpu_seconds <= limits.seconds and "feed" in text else out_of_time(limits)
    frames: list[Frame] = error.traceback() if isinstance(error, MontyRuntimeError | MontySyntaxError) else []
    trace = tuple((f.line, f.function_name or "<module>") for f in frames if f.filename == _FIRST_FEED)[-20:]
    line = trace[-1][0] if trace else None
    out, err = printed.text("stdout"), printed.text("stderr")
    kind = type(cause).__name__
    message = f"{kind}: {text[:2000]}" if text else kind
    at = "" if line is None else f" (line {line})"
    return CodeFailed(f"{message}{at}.", line=line, trace=trace, stdout=out, stderr=err)
