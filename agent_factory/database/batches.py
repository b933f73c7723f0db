"""Group commit: whatever waits to be written goes out in one statement."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from agent_factory.kit.errors import Problem, Unavailable

Op = TypeVar("Op")
Out = TypeVar("Out")

_MOST = 256
"""Operations of one statement; more would only make the first of them wait longer."""

_PAUSES = (0.02, 0.05, 0.1, 0.25)
"""Seconds between attempts while PostgreSQL is away; the last one repeats."""


class Lane(Generic[Op, Out]):
    """A line of operations that one statement at a time works off.

    `execute` takes a batch and whether it may have been committed before, and
    gives one outcome for each operation in order; an outcome that is a
    `Problem` is raised to the one who submitted the operation. Outcomes are
    told in the order of submission. `patience` is how many seconds an operation
    outlives a server that is away; then it ends in `Unavailable`.
    """

    def __init__(
        self, execute: Callable[[Sequence[Op], bool], Awaitable[Sequence[Out | Problem]]], patience: float
    ) -> None:
        """Start idle."""
        self._execute = execute
        self._patience = patience
        self._queue: list[tuple[Op, asyncio.Future[Out], float]] = []
        self._worker: asyncio.Task[None] | None = None

    async def idle(self) -> None:
        """Return when nothing is left to be committed."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def submit(self, op: Op) -> Out:
        """Have an operation committed; a caller who is cancelled meanwhile does not undo it."""
        done: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._queue.append((op, done, time.monotonic() + self._patience))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await done

    async def _work(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue[:_MOST], self._queue[_MOST:]
                await self._commit(batch)
        finally:
            self._worker = None

    async def _commit(self, batch: list[tuple[Op, asyncio.Future[Out], float]]) -> None:
        attempt = 0
        while batch:
            try:
                outcomes = await self._execute([op for op, _, _ in batch], attempt > 0)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait for it
                if isinstance(error, Problem) and error.retryable:
                    batch = _give_up(batch, error)
                    await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
                    attempt += 1
                    continue
                if len(batch) > 1:  # one bad row must not fail its neighbours
                    for one in batch:
                        await self._commit([one])
                else:
                    _tell(batch[0][1], error)
                return
            for (_, done, _), outcome in zip(batch, outcomes, strict=True):
                _tell(done, outcome)
            return


def _give_up(
    batch: list[tuple[Op, asyncio.Future[Out], float]], error: BaseException
) -> list[tuple[Op, asyncio.Future[Out], float]]:
    """Fail the operations whose patience is over, and return the others."""
    now = time.monotonic()
    for _, done, deadline in batch:
        if deadline <= now:
            gone = Unavailable("The database is away; nothing was lost that was acknowledged. Try again shortly.")
            gone.__cause__ = error
            _tell(done, gone)
    return [one for one in batch if one[2] > now]


def _tell(done: asyncio.Future[Out], outcome: Out | BaseException) -> None:
    if done.done():
        return
    if isinstance(outcome, BaseException):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
