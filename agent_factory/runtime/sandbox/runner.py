"""Runs a user's code inside a sandbox: a script for any Python from 3.9 on, never imported by the product.

The first process of the sandbox reads the job from its standard input (or from
the file that its argument names), runs the code in a child, and stays to end
it: at its deadline, when it gives too much, or when the other end of standard
input closes, which is when whoever asked has gone. Its last words on standard
output are a frame: the nonce, one line that says how the child ended, and the
child's answer. Whoever asked must trust none of it.
"""

from __future__ import annotations

import builtins
import json
import math
import os
import resource
import select
import signal
import sys
import time
import types
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, cast

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "code.py"
CHUNK = 1 << 16


def main() -> NoReturn:
    """Run one job and end."""
    began = time.monotonic()
    from_file = len(sys.argv) > 1
    job = read_job(os.open(sys.argv[1], os.O_RDONLY) if from_file else 0)
    answer, told = os.pipe()
    wake, waker = os.pipe()
    # nobody reads along where the job came from a file, so that the flood has to be stopped here
    printed, prints = os.pipe() if from_file else (None, None)
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, ignore)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if printed is not None and prints is not None:
            os.dup2(prints, 1)
            os.dup2(prints, 2)
        for descriptor in (answer, wake, waker, printed, prints):
            if descriptor is not None:
                os.close(descriptor)
        run(job, told)
    os.close(told)
    if prints is not None:
        os.close(prints)
    watch = Watch(child, began + job["seconds"], job["output"])
    watch.hear(wake, watch.reap)
    watch.hear(answer, watch.listen)
    watch.hear(printed, watch.forward)
    watch.hear(None if from_file else 0, watch.heed)
    watch.until_the_end()
    watch.end_all()
    watch.take_the_rest(answer, printed)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ending = {
        "why": watch.why,
        "code": None if watch.status is None else os.waitstatus_to_exitcode(watch.status),
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * 1024,
        "starved": starved(),
        "size": len(watch.words),
    }
    os.set_blocking(1, True)  # the child may have changed the pipe that both share
    write(1, b"\n" + job["nonce"].encode() + json.dumps(ending).encode() + b"\n" + watch.words)
    os._exit(0)


def ignore(_number: int, _frame: object) -> None:
    """Do nothing: the signal's number arrives through the pipe."""


def read_job(source: int) -> dict[str, Any]:
    """Read the length of the job, a line end, and the job."""
    text, size = b"", None
    while size is None or len(text) < size:
        more = os.read(source, CHUNK)
        if not more:
            os._exit(3)
        text += more
        if size is None and b"\n" in text:
            length, _, text = text.partition(b"\n")
            size = int(length)
    return json.loads(text)


class Watch:
    """Hears the child until it ends or has to be ended."""

    def __init__(self, child: int, deadline: float, most: int) -> None:
        """Keep what to watch; `most` bounds the answer in bytes, and as much again what is printed."""
        self.child, self.deadline, self.most, self.room = child, deadline, most, most
        self.hearing: dict[int, Callable[[int], bool]] = {}
        self.words = b""
        self.status: int | None = None
        self.why: str | None = None

    def hear(self, source: int | None, by: Callable[[int], bool]) -> None:
        """Have what comes from a descriptor taken by a method, which tells whether more may come."""
        if source is not None:
            self.hearing[source] = by

    def until_the_end(self) -> None:
        """Hear everybody until the child ends, says too much, or its time is over."""
        poll = select.poll()
        for source in self.hearing:
            poll.register(source, select.POLLIN)
        while self.status is None and self.why is None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                self.why = "time"
            for source, _ in poll.poll(max(left, 0) * 1000 + 1):
                if not self.hearing[source](source):
                    poll.unregister(source)

    def take_the_rest(self, *sources: int | None) -> None:
        """Take what was said before the end; an answer that was cut short is none."""
        for source in sources:
            if source is not None:
                os.set_blocking(source, False)
                with suppress(BlockingIOError):
                    while self.why is None and self.hearing[source](source):
                        pass
        if self.why is not None:
            self.words = b""

    def listen(self, answer: int) -> bool:
        """Take a piece of the answer."""
        more = os.read(answer, CHUNK)
        self.words += more
        if len(self.words) > self.most:
            self.why = "output"
        return bool(more)

    def forward(self, printed: int) -> bool:
        """Pass on a piece of what the child prints."""
        more = os.read(printed, CHUNK)
        self.room -= len(more)
        if self.room < 0:
            self.why = "output"
        else:
            write(1, more)
        return bool(more)

    def heed(self, alive: int) -> bool:
        """End at once when whoever asked has gone, and with it all that this process started."""
        if not os.read(alive, CHUNK):
            os._exit(4)
        return True

    def reap(self, wake: int) -> bool:
        """Bury every process that has ended, and note the child's end."""
        os.read(wake, CHUNK)
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self.child:
                    self.status = status
        return True

    def end_all(self) -> None:
        """End the child and, in a namespace of its own, all that it left behind."""
        alone = os.getpid() <= 2  # noqa: PLR2004 - at most an init before it: the namespace is the job's own
        if not alone and self.status is not None:
            return
        with suppress(ChildProcessError, ProcessLookupError):
            os.kill(-1 if alone else self.child, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)


def starved() -> bool:
    """Tell whether the kernel ended a process of this sandbox for its memory, where a sandbox can see that."""
    for place in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with suppress(OSError), open(place, encoding="ascii") as events:  # noqa: PTH123 - pathlib would cost each start more
            return any(line.split()[0] == "oom_kill" and line.split()[1] != "0" for line in events)
    return False


def write(target: int, text: bytes) -> None:
    """Write all of a text."""
    while text:
        text = text[os.write(target, text) :]


def run(job: dict[str, Any], told: int) -> NoReturn:
    """Run the code in this process, tell what came of it, and end."""
    me = os.getpid()
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    confine(job)
    theirs = os.environ  # noqa: TID251 - the environment of the user's code, not of the product
    libraries = {name: theirs[name] for name in ("LD_LIBRARY_PATH",) if name in theirs}
    theirs.clear()
    theirs.update({**libraries, **job["environment"]})
    os.chdir("/tmp")  # noqa: S108 - the one folder that a sandbox may write to
    sys.argv = [NAME]
    builtins.__dict__.update(exit=sys.exit, quit=sys.exit)
    try:
        text = as_json(execute(job["code"], job["inputs"]))
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is told
        text = json.dumps({"error": describe(error)})
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    if os.getpid() != me:
        os._exit(0)  # a fork of the script, which came to its end as well
    write(told, text.encode("utf-8", "backslashreplace"))
    os._exit(0)


def confine(job: dict[str, Any]) -> None:
    """Set the limits that hold for each process; the ones for all together are set from outside."""
    cpu = max(1, math.ceil(job["cpu"]))
    limits = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (job["disk"], job["disk"]),
        resource.RLIMIT_NOFILE: (256, 256),
        resource.RLIMIT_NPROC: (job["processes"] + 2, job["processes"] + 2),  # the runner, and an init before it
        resource.RLIMIT_MEMLOCK: (0, 0),
    }
    if job["address_space"]:
        limits[resource.RLIMIT_AS] = (job["address_space"], job["address_space"])
    for which, (soft, hard) in limits.items():
        most = resource.getrlimit(which)[1]
        least = hard if most == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(which, (min(soft, least), least))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def execute(code: str, inputs: object) -> object:
    """Run the code as a script and give what it assigned to `result`."""
    script = types.ModuleType("__main__")
    sys.modules["__main__"] = script
    vars(script).update(__file__=NAME, inputs=inputs)
    try:
        exec(compile(code, NAME, "exec", dont_inherit=True), vars(script))  # noqa: S102 - what a sandbox is for
    except SystemExit as left:
        if left.code not in {None, 0}:
            raise
    threading: Any = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()  # noqa: SLF001 - as the interpreter does after a script
    return vars(script).get("result")


def as_json(result: object) -> str:
    """Write the answer, without the silent changes that `json` makes."""
    text = json.dumps({"result": result}, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    stack: list[Any] = [result]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            fields = cast("dict[Any, Any]", each)
            odd = [type(key).__name__ for key in fields if not isinstance(key, str)]
            if odd:
                raise TypeError(f"`result` has a key of the type {odd[0]}; keys are texts")
            stack.extend(fields.values())
        elif isinstance(each, (list, tuple)):
            stack.extend(cast("list[Any]", each))
        elif isinstance(each, int) and not -(1 << 63) <= each < 1 << 64:
            raise ValueError("`result` has a whole number of more than 64 bits; give it as a text")
    return text


def describe(error: BaseException) -> dict[str, Any]:
    """Tell an exception in the words of the code: its type, its text and its lines."""
    trace: list[tuple[int, str]] = []
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == NAME:
            trace.append((at.tb_lineno, at.tb_frame.f_code.co_name))
        at = at.tb_next
    line = trace[-1][0] if trace else None
    kind = type(error).__name__
    try:
        text = str(error)[:2000]
    except BaseException:  # noqa: BLE001 - `__str__` may be the user's own
        text = ""
    if isinstance(error, SyntaxError) and error.filename == NAME:
        line, text = error.lineno, error.msg
    message = f"{kind}: {text}" if text else kind
    if isinstance(error, SystemExit):
        message = f"the code exited with {text}"
    return {"type": kind, "message": message, "line": line, "trace": trace[-20:]}


if __name__ == "__main__":
    main()
