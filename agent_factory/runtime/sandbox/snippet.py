"""The tier `snippet`: small pure code in pydantic-monty, an interpreter without an operating system."""

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from agent_factory.core.task import CodeLimits
from agent_factory.kit.errors import Problem
from agent_factory.runtime.sandbox import interpreter
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

_GRACE = 5.0
"""Seconds after which an interpreter that should have ended is ended."""

_MISSING = "The program `monty` is missing; install pydantic-monty with its runtime."


class Snippet:
    """Runs code in a process of interpreters, which is started when the first job comes; see `interpreter`."""

    def __init__(self, settings: SandboxSettings) -> None:
        """Take the settings; nothing is started."""
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._jobs: dict[int, asyncio.Future[interpreter.Told]] = {}
        self._count = 0

    async def status(self) -> TierStatus:
        """Tell whether monty's program can be started."""
        try:
            await self._opened()
        except SandboxFailed:
            return TierStatus("snippet", available=False, hint=_MISSING)
        return TierStatus("snippet", available=True, hint="")

    async def close(self) -> None:
        """End the interpreters."""
        process, self._process = self._process, None
        if process is None or process.stdin is None or self._reading is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await self._reading

    async def run(self, job: Job) -> Done:
        """Run a job; raises the problems of `errors`."""
        began = time.monotonic()
        limits = job.limits
        self._count += 1
        told = await self._told(
            interpreter.Ask(
                id=self._count,
                code=job.code.encode("utf-8", "surrogatepass"),
                inputs=json.dumps(job.inputs).encode(),
                seconds=limits.seconds,
                cpu_seconds=limits.cpu_seconds,
                memory=limits.memory_mb * MEGABYTE,
                output=limits.output_bytes,
            )
        )
        if told.how != "done":
            raise _problem(told, limits)
        return Done(
            result=_decoded(told.result),
            stdout=told.stdout,
            stderr=told.stderr,
            tier="snippet",
            duration_ms=int((time.monotonic() - began) * 1000),
            cpu_seconds=None,
            peak_memory=None,
        )

    async def _told(self, ask: interpreter.Ask) -> interpreter.Told:
        process = await self._opened()
        assert process.stdin is not None
        end: asyncio.Future[interpreter.Told] = asyncio.get_running_loop().create_future()
        self._jobs[ask.id] = end
        try:
            process.stdin.write(interpreter.frame(ask))
            with suppress(ConnectionError):  # its end is told by the reader
                await process.stdin.drain()
            return await end
        finally:
            del self._jobs[ask.id]
            if not end.done() or end.cancelled():
                process.stdin.write(interpreter.frame(interpreter.Ask(id=ask.id)))

    async def _opened(self) -> asyncio.subprocess.Process:
        async with self._opening:
            process, reading = self._process, self._reading
            if process is None or reading is None or process.returncode is not None or reading.done():
                await self._gone(process, reading)
                process = self._process = await self._started()
            return process

    @staticmethod
    async def _gone(process: asyncio.subprocess.Process | None, reading: asyncio.Task[None] | None) -> None:
        """See a process to its end before the next one: the end of its output is told before the end of itself."""
        if process is None or reading is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        await reading

    async def _started(self) -> asyncio.subprocess.Process:
        seconds = self._settings.most.seconds + _GRACE
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(Path(interpreter.__file__)),
            str(self._settings.concurrency),
            str(seconds),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.defpath},
        )
        assert process.stdout is not None
        try:
            await interpreter.read_frame(process.stdout)
        except asyncio.IncompleteReadError:
            await process.wait()
            raise SandboxFailed(_MISSING) from None
        self._reading = asyncio.create_task(self._read(process.stdout), name="ends of snippets")
        return process

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand out how jobs ended; those that are open when the process ends are lost."""
        decode = msgspec.msgpack.Decoder(interpreter.Told).decode
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                told = decode(await interpreter.read_frame(reader))
                end = self._jobs.get(told.id)
                if end is not None and not end.done():
                    end.set_result(told)
        for number, end in self._jobs.items():
            if not end.done():
                end.set_result(interpreter.Told(number, "lost"))


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CodeFailed("`result` is no JSON document, or one that is too deep.") from None


def _problem(told: interpreter.Told, limits: CodeLimits) -> Problem:
    match told.how:
        case "time":
            return out_of_time(limits)
        case "cpu":
            return out_of_cpu(limits)
        case "memory":
            return out_of_memory(limits)
        case "output":
            return too_much_output(limits)
        case "failed":
            return CodeFailed(told.message, line=told.line, trace=told.trace, stdout=told.stdout, stderr=told.stderr)
        case _:
            return SandboxFailed("The interpreter ended in the middle; try again.")
