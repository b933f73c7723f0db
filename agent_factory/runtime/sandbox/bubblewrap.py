"""The tier `sandbox`: this machine's Python behind namespaces, a control group, a user of its own and a filter."""

import asyncio
import os
import secrets
import shutil
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec
import structlog

from agent_factory.kit.errors import Problem
from agent_factory.runtime.sandbox import seccomp
from agent_factory.runtime.sandbox.cgroups import Group, Groups, find_groups
from agent_factory.runtime.sandbox.errors import SandboxFailed, TierUnavailable
from agent_factory.runtime.sandbox.frames import MEGABYTE, Answer, Question
from agent_factory.runtime.sandbox.job import Done, Job, TierStatus
from agent_factory.runtime.sandbox.owner import MARK, Owner, end_orphans
from agent_factory.runtime.sandbox.rootfs import base_python, files, runs
from agent_factory.runtime.sandbox.settings import SandboxSettings
from agent_factory.runtime.sandbox.streams import Pipes, converse, discard

log = structlog.stdlib.get_logger(__name__)

_USERS = range(0x7000_0000, 0x7001_0000)
"""User ids that no system gives to anybody: each job takes one at random."""

_PATIENCE = 10.0
"""Seconds that bubblewrap has to build a sandbox, and the kernel to clear one away."""

_INSTALL = "Install bubblewrap (on Debian: apt-get install bubblewrap)."
_SETPRIV = "Install setpriv, which root needs to give jobs a user of their own (on Debian: apt-get install util-linux)."
_NO_GROUPS = (
    "No control group can be made here, so memory is limited for each process instead of all together; "
    "run as root, or as a systemd service with Delegate=yes."
)


class Bubblewrap:
    """Runs each job in a sandbox that bubblewrap builds and that dies with it.

    `before` stands before the command and does what is else done for root;
    `python` is another interpreter to lend to the sandboxes.
    """

    def __init__(self, settings: SandboxSettings, *, before: Sequence[str] = (), python: Path | None = None) -> None:
        """Take the settings; nothing is looked for before the first job."""
        self._settings = settings
        self._before = tuple(before)
        self._root = os.geteuid() == 0 and not before
        self._python = (python or base_python()).resolve()
        self._runs = runs(self._python)
        self._owner = Owner.current()
        self._groups: Groups | None = None
        self._status: TierStatus | None = None
        self._looking = asyncio.Lock()

    async def status(self) -> TierStatus:
        """Tell whether a sandbox can be built here, by building one; once it could, that is not asked again."""
        async with self._looking:
            if self._status is not None:
                return self._status
            status = await self._try()
            if status.available:
                self._status = status
            return status

    async def close(self) -> None:
        """Nothing is kept running."""

    async def run(self, job: Job) -> Done:
        """Run a job; raises the problems of `errors`."""
        status = await self.status()
        if not status.available:
            raise TierUnavailable(status.hint)
        return await self._run(job)

    async def _try(self) -> TierStatus:
        missing = (not shutil.which("bwrap") and _INSTALL) or (self._root and not shutil.which("setpriv") and _SETPRIV)
        if missing:
            return TierStatus("sandbox", available=False, hint=missing)
        try:
            seccomp.bpf()
            await asyncio.to_thread(end_orphans, self._owner)
            self._groups = await asyncio.to_thread(find_groups, self._settings.cgroup)
            await self._run(Job(code="pass"))
        except seccomp.MachineUnknown as machine:
            return TierStatus("sandbox", available=False, hint=f"There is no filter for {machine} processors.")
        except Problem as problem:
            return TierStatus("sandbox", available=False, hint=problem.detail)
        return TierStatus("sandbox", available=True, hint="" if self._groups else _NO_GROUPS)

    async def _run(self, job: Job) -> Done:
        began = time.monotonic()
        async with self._group(job) as group:
            answer = await self._ask(job, group)
            return Done(
                result=answer.result,
                stdout=answer.stdout,
                stderr=answer.stderr,
                tier="sandbox",
                duration_ms=int((time.monotonic() - began) * 1000),
                cpu_seconds=group.cpu_seconds if group else answer.cpu_seconds,
                peak_memory=group.peak_memory if group else answer.peak_memory,
            )

    async def _ask(self, job: Job, group: Group | None) -> Answer:
        question = Question(job, address_space=0 if group else job.limits.memory_mb * MEGABYTE)
        used = None if group is None else (lambda: group.cpu_seconds)
        async with self._sandbox(job, group) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            pipes = Pipes(process.stdin, process.stdout, process.stderr)
            out, err = await converse(pipes, job.limits, question.wire, most=question.most, cpu=used)
            if not out and err.startswith(b"bwrap: "):
                raise _broken(err)
            return question.answer(
                out,
                err,
                starved=group is not None and group.out_of_memory,
                cpu=None if group is None else group.cpu_seconds,
            )

    @asynccontextmanager
    async def _group(self, job: Job) -> AsyncGenerator[Group | None, None]:
        if self._groups is None:
            yield None
            return
        try:
            group = self._groups.fresh()
        except OSError as error:
            raise SandboxFailed("No control group could be made for the job; try again.") from error
        try:
            group.limit(job.limits, self._settings.cores)
            yield group
        finally:
            await asyncio.shield(_clear(group))

    @asynccontextmanager
    async def _sandbox(self, job: Job, group: Group | None) -> AsyncGenerator[asyncio.subprocess.Process, None]:
        """Build a sandbox and let it go once it is in its group; it is gone at the end, whatever happens."""
        with _Ends() as ends:
            # bubblewrap, killed while it builds, leaves a first process that waits for ever
            building = asyncio.create_task(self._build(job, ends))
            try:
                process, first = await asyncio.shield(building)
                _admit(group, first)
                with suppress(BrokenPipeError):
                    os.write(ends.hold, b"1")
                yield process
            finally:
                await asyncio.shield(_end(building, ends))

    async def _build(self, job: Job, ends: "_Ends") -> tuple[asyncio.subprocess.Process, int]:
        process = await self._start(job, ends)
        try:
            ends.hold_on(process.pid)
            first = await _first_process(process, ends.told)
            ends.hold_on(first)
        except BaseException:
            await _kill(process, ends)
            raise
        return process, first

    async def _start(self, job: Job, ends: "_Ends") -> asyncio.subprocess.Process:
        _fill(ends.rules, seccomp.bpf())
        _fill(ends.arguments, "\0".join(self._arguments(job, ends)).encode())
        try:
            return await asyncio.create_subprocess_exec(
                *self._command(ends),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": os.defpath, MARK: str(self._owner)},
                pass_fds=ends.given,
            )
        except OSError as error:
            raise SandboxFailed("bubblewrap could not be started; try again.") from error
        finally:
            ends.give()

    def _command(self, ends: "_Ends") -> list[str]:
        # the arguments go by a descriptor: a sandbox can read the command line of its first process
        return [
            *self._before,
            str(shutil.which("bwrap")),
            "--args",
            str(ends.arguments),
            "--",
            *self._user(),
            *self._runs,
        ]

    def _user(self) -> list[str]:
        if not self._root:
            return []
        number = secrets.choice(_USERS)
        return [
            *("/setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups"),
            *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--pdeathsig=KILL"),
        ]

    def _arguments(self, job: Job, ends: "_Ends") -> list[str]:
        info, held, rules = (str(descriptor) for descriptor in (ends.info, ends.held, ends.rules))
        own = ["--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
        if self._root:
            own = ["--cap-drop", "ALL", "--ro-bind", str(shutil.which("setpriv")), "/setpriv"]
            own += [w for name in ("SETUID", "SETGID", "SETPCAP") for w in ("--cap-add", f"CAP_{name}")]
        shared = job.network == "full"
        return [
            *("--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"),
            *(() if shared else ("--unshare-net",)),
            *("--die-with-parent", "--new-session", "--clearenv"),
            *("--info-fd", info, "--block-fd", held, "--seccomp", rules),
            *own,
            *files(self._python, job.limits.disk_mb * MEGABYTE, network=shared),
        ]


class _Ends:
    """The ends of what a sandbox is started with: ours, and those that are given to it."""

    def __init__(self) -> None:
        self.told, self.info = os.pipe()
        self.held, self.hold = os.pipe()
        self.rules = os.memfd_create("rules")
        self.arguments = os.memfd_create("arguments")
        self.processes: list[int] = []
        """bubblewrap, and the first process of the sandbox, with whom the kernel ends all others."""
        self._given = True

    @property
    def given(self) -> tuple[int, ...]:
        """What the sandbox gets."""
        # also the end that only this process reads: without a reader, bubblewrap would die where it builds
        return (self.info, self.told, self.held, self.rules, self.arguments) if self._given else ()

    def hold_on(self, pid: int) -> None:
        """Keep a process to be ended."""
        with suppress(ProcessLookupError):
            self.processes.append(os.pidfd_open(pid))

    def give(self) -> None:
        """Close what the sandbox now has."""
        for descriptor in self.given:
            if descriptor != self.told:
                os.close(descriptor)
        self._given = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give()
        for descriptor in (self.told, self.hold, *self.processes):
            os.close(descriptor)


def _fill(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.lseek(descriptor, 0, os.SEEK_SET)


class _Info(msgspec.Struct, rename="kebab"):
    child_pid: int


async def _first_process(process: asyncio.subprocess.Process, told: int) -> int:
    """Wait until bubblewrap tells the number of the sandbox's first process, as seen from here."""
    loop = asyncio.get_running_loop()
    text = b""
    try:
        async with asyncio.timeout(_PATIENCE):
            while not text.endswith(b"}\n"):
                ready: asyncio.Future[None] = loop.create_future()
                loop.add_reader(told, _settle, ready)
                try:
                    await ready
                finally:
                    loop.remove_reader(told)
                more = os.read(told, 4096)
                if not more:
                    raise _broken(b"" if process.stderr is None else await process.stderr.read(4096))
                text += more
    except TimeoutError as error:
        raise SandboxFailed("bubblewrap did not build the sandbox in time; try again.") from error
    return msgspec.json.decode(text, type=_Info).child_pid


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _broken(words: bytes) -> SandboxFailed:
    said = words.decode("utf-8", "replace").strip()
    log.error("bubblewrap did not build a sandbox", said=said)
    return SandboxFailed(
        "bubblewrap is installed, but cannot build a sandbox here: it needs user namespaces, or to run as root "
        "with the right to mount. In a container, allow them by its security options."
    )


def _admit(group: Group | None, first: int) -> None:
    try:
        if group is not None:
            group.add(first)
    except OSError as error:
        raise SandboxFailed("The sandbox could not be put into its control group; try again.") from error


async def _end(building: asyncio.Task[tuple[asyncio.subprocess.Process, int]], ends: _Ends) -> None:
    """End a sandbox as soon as it is built."""
    with suppress(Exception):  # what failed in building was told, and has ended
        process, _ = await building
        await _kill(process, ends)


async def _kill(process: asyncio.subprocess.Process, ends: _Ends) -> None:
    """End a sandbox and bubblewrap with it."""
    for descriptor in ends.processes:
        # not `process.kill`, which may bury the process before asyncio sees it dead
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    # asyncio sees no end of a process before the end of its pipes
    await asyncio.gather(discard(process.stdout), discard(process.stderr), process.wait())


async def _clear(group: Group) -> None:
    until = time.monotonic() + _PATIENCE
    group.kill()
    while not group.remove():
        if time.monotonic() > until:
            log.error("a control group could not be removed")
            return
        await asyncio.sleep(0.005)
