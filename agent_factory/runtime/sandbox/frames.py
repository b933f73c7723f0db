"""What goes into a sandbox and what comes out of it, bounded and never trusted."""

import math
import secrets
from pathlib import Path
from typing import Any

import msgspec

from agent_factory.core.task import CodeLimits
from agent_factory.kit.errors import Problem
from agent_factory.runtime.sandbox.errors import (
    CodeFailed,
    CodeOutOfMemory,
    CodeTimeout,
    CodeTooMuchOutput,
)
from agent_factory.runtime.sandbox.job import Job

MEGABYTE = 1 << 20
SCRIPT = (Path(__file__).parent / "runner.py").read_text(encoding="utf-8")
"""What the Python in a sandbox runs; it never runs here."""

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - inside
_HEAD = 64 * 1024
_SIGKILL, _SIGXCPU = -9, -24


class _Ending(msgspec.Struct):
    """How the code's process ended, in the runner's words."""

    size: int
    why: str | None = None
    code: int | None = None
    cpu: float = 0.0
    peak: int = 0
    starved: bool = False


class _Error(msgspec.Struct):
    """What the code raised, in the runner's words."""

    type: str = ""
    message: str = ""
    line: int | None = None
    trace: list[tuple[int, str]] = []


class _Words(msgspec.Struct):
    """What the code's process left: a result or an error."""

    result: Any = None
    error: _Error | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a sandbox gave: what the code printed, its result, and what the runner measured."""

    result: Any
    stdout: str
    stderr: str
    cpu_seconds: float
    peak_memory: int


class Question:
    """One job on its way into a sandbox; `address_space` bounds each process where nothing bounds them together."""

    def __init__(self, job: Job, *, address_space: int = 0) -> None:
        """Encode the job to `wire`, which the runner reads; raises `CodeFailed` for texts that cannot be encoded."""
        limits = job.limits
        self._limits = limits
        self._nonce = secrets.token_hex(16)
        content = {
            "nonce": self._nonce,
            "code": job.code,
            "inputs": job.inputs,
            "environment": {**_ENVIRONMENT, **job.environment},
            "seconds": limits.seconds,
            "cpu": limits.cpu_seconds,
            "processes": limits.processes,
            "disk": limits.disk_mb * MEGABYTE,
            "output": limits.output_bytes,
            "address_space": address_space,
        }
        try:
            body = msgspec.json.encode(content)
        except UnicodeEncodeError:
            raise CodeFailed("The code or its inputs hold a half of a character, which no text can have.") from None
        self.wire = b"%d\n%s" % (len(body), body)

    @property
    def most(self) -> int:
        """How many bytes of standard output to take: what the code prints, and its framed result."""
        return 2 * self._limits.output_bytes + _HEAD

    def answer(self, stdout: bytes, stderr: bytes, *, starved: bool = False, cpu: float | None = None) -> Answer:
        """Read what came out; raises the problem that ended the code.

        `starved` (of memory) and `cpu` (in seconds) are what was measured from outside.
        """
        printed, ending, words = self._taken_apart(stdout)
        out, err = printed.decode("utf-8", "replace"), stderr.decode("utf-8", "replace")
        if len(printed) > self._limits.output_bytes or len(stderr) > self._limits.output_bytes:
            raise too_much_output(self._limits)
        told = _decoded(words)
        if told is not None and told.error is None:
            return Answer(told.result, out, err, ending.cpu, ending.peak)
        problem = self._over_a_limit(ending, cpu or ending.cpu, starved=starved)
        raise problem or _failure(ending, told and told.error, out, err)

    def _taken_apart(self, stdout: bytes) -> tuple[bytes, _Ending, bytes]:
        printed, found, frame = stdout.rpartition(b"\n" + self._nonce.encode())
        if not found:
            return stdout, _Ending(0), b""
        head, _, words = frame.partition(b"\n")
        try:
            ending = msgspec.json.decode(head, type=_Ending)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return printed, _Ending(0), b""
        return printed, ending, words if len(words) == ending.size else b""

    def _over_a_limit(self, ending: _Ending, cpu: float, *, starved: bool) -> Problem | None:
        if ending.why == "output":
            return too_much_output(self._limits)
        if ending.why == "time":
            return out_of_time(self._limits)
        if starved or ending.starved:
            return out_of_memory(self._limits)
        if ending.code == _SIGXCPU or (ending.code == _SIGKILL and cpu >= math.ceil(self._limits.cpu_seconds)):
            return out_of_cpu(self._limits)
        return None


def too_much_output(limits: CodeLimits) -> CodeTooMuchOutput:
    """Say that the code prints or returns too much."""
    return CodeTooMuchOutput(
        f"The code printed or returned more than {limits.output_bytes} bytes; give less, or raise `output_bytes`."
    )


def out_of_time(limits: CodeLimits) -> CodeTimeout:
    """Say that the time on the clock is over."""
    return CodeTimeout(f"The code did not end within {limits.seconds:g} s; do less, or raise `seconds`.")


def out_of_cpu(limits: CodeLimits) -> CodeTimeout:
    """Say that the time on the processor is over."""
    return CodeTimeout(
        f"The code used more than {limits.cpu_seconds:g} s of processor time; do less, or raise `cpu_seconds`."
    )


def out_of_memory(limits: CodeLimits) -> CodeOutOfMemory:
    """Say that the memory is used up."""
    return CodeOutOfMemory(
        f"The code used more than {limits.memory_mb} MB, its files included; use less, or raise `memory_mb`."
    )


def _decoded(words: bytes) -> _Words | None:
    if not words:
        return None
    try:
        return msgspec.json.decode(words, type=_Words)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Words(error=_Error(message="`result` is no JSON document, or one that is too deep"))


def _failure(ending: _Ending, error: _Error | None, out: str, err: str) -> Problem:
    if error is not None:
        at = "" if error.line is None else f" (line {error.line})"
        if error.type == "MemoryError":
            return CodeOutOfMemory(f"The code ran out of memory{at}; use less, or raise `memory_mb`.")
        trace = tuple((line, name[:200]) for line, name in error.trace[:50])
        return CodeFailed(f"{error.message[:4000]}{at}.", line=error.line, trace=trace, stdout=out, stderr=err)
    how = f"was ended by signal {-ending.code}" if ending.code is not None and ending.code < 0 else "ended by itself"
    return CodeFailed(f"The code's process {how} before there was a result.", stdout=out, stderr=err)
