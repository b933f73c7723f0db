"""Runs foreign code so that it may fail, hang or be cancelled without hurting the process."""

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_GRACE = 1.0
"""Seconds that cancelled code gets for cleaning up before it is left alone."""

_IDLE = 10.0
"""Seconds after which a thread without work ends."""


class OverdueError(Exception):
    """The deadline passed, and the code was stopped or abandoned."""


class ExhaustedError(Exception):
    """Too many threads hang in abandoned code to begin more."""


async def within(coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
    """Await foreign code for at most so many seconds, then raise `OverdueError`.

    It runs in a task of its own, because code may swallow its cancellation:
    such a task is abandoned after a second of grace.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(coroutine)
    waiter: asyncio.Future[None] = loop.create_future()

    def release(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    task.add_done_callback(release)
    timer = loop.call_later(seconds, release, None)
    try:
        await waiter
    except asyncio.CancelledError:
        await _stop(task)
        raise
    finally:
        timer.cancel()
    if task.cancelled():
        raise RuntimeError("the code cancelled itself")  # which must not look like a cancellation of the caller
    if task.done():
        return task.result()
    await _stop(task)
    raise OverdueError


async def _stop(task: asyncio.Task[Any]) -> None:
    task.add_done_callback(_forget)
    task.cancel()
    await asyncio.wait({task}, timeout=_GRACE)


def _forget(task: asyncio.Task[Any]) -> None:
    """Read the end of a task that nobody waits for, so that it is not reported as lost."""
    if not task.cancelled():
        task.exception()


class Outcome(msgspec.Struct, frozen=True):
    """How a function ended: its value, or what it raised."""

    value: Any = None
    error: BaseException | None = None


class _Job:
    """One call on its way through the threads."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.context = contextvars.copy_context()
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Outcome] = self.loop.create_future()
        self.running = False
        self.abandoned = False
        self.ended = False

    def execute(self) -> Outcome:
        try:
            return Outcome(self.context.run(self.function))
        except BaseException as error:  # noqa: BLE001 - even SystemExit of a tool must end its call only
            return Outcome(error=error)

    def deliver(self, outcome: Outcome) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: Outcome) -> None:
        if not self.future.done():
            self.future.set_result(outcome)


class Threads:
    """A bounded set of daemon threads for blocking code that may hang.

    A call that is overdue or cancelled leaves its thread behind; such threads
    are counted until they come back, and from `most_stuck` of them on new calls
    are refused at once, instead of waiting for a thread that may never be free.
    As the threads are daemons, the process can always exit.
    """

    def __init__(self, most: int = 64, most_stuck: int = 32) -> None:
        """Start no thread yet."""
        self._most = most
        self._most_stuck = most_stuck
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._threads = 0
        self._idle = 0
        self._stuck = 0

    @property
    def stuck(self) -> int:
        """How many threads hang in abandoned code now."""
        return self._stuck

    async def run(self, function: Callable[[], Any], seconds: float) -> Outcome:
        """Run a blocking function; its own errors come back in the outcome.

        Raises `OverdueError` after so many seconds (waiting for a free thread
        counts), and `ExhaustedError` when too many threads are stuck.
        """
        job = _Job(function)
        self._submit(job)
        try:
            async with asyncio.timeout(seconds):
                return await job.future
        except TimeoutError:
            raise OverdueError from None
        finally:
            self._release(job)

    def _submit(self, job: _Job) -> None:
        with self._changed:
            if self._stuck >= self._most_stuck:
                raise ExhaustedError
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, name="agent-factory-tool", daemon=True).start()

    def _release(self, job: _Job) -> None:
        with self._changed:
            if job.ended:
                return
            job.abandoned = True
            if job.running:
                self._stuck += 1
            else:
                self._jobs.remove(job)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            outcome = job.execute()
            with self._changed:
                job.ended = True
                if job.abandoned:
                    self._stuck -= 1
            job.deliver(outcome)
            del job, outcome  # an idle thread must not keep a result alive

    def _next(self) -> _Job | None:
        with self._changed:
            self._idle += 1
            found = self._changed.wait_for(lambda: self._jobs, timeout=_IDLE)
            self._idle -= 1
            if not found:
                self._threads -= 1
                return None
            job = self._jobs.popleft()
            job.running = True
            return job


_THREADS: Final = Threads()
"""One set for the process, for it is the process that hanging code must not exhaust."""


async def in_thread(function: Callable[[], T], seconds: float) -> T:
    """Run a blocking function in one of the process's threads and give its value.

    Raises what the function raises, `OverdueError` or `ExhaustedError`. A
    function that ends by SystemExit or the like raises `RuntimeError`.
    """
    outcome = await _THREADS.run(function, seconds)
    match outcome.error:
        case None:
            return outcome.value
        case StopIteration() | StopAsyncIteration():  # these two mean something else to whoever awaits
            raise RuntimeError(f"{type(outcome.error).__name__} escaped") from outcome.error
        case Exception():
            raise outcome.error
        case stop:
            raise RuntimeError(f"{type(stop).__name__} escaped") from stop
