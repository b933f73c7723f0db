"""Several pieces of work side by side: the first failure stops the others, and waiting stops none."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

from agent_factory.runtime.flow.context import FlowContext
from agent_factory.runtime.flow.outcome import Suspended, WaitFor

Key = TypeVar("Key")
Out = TypeVar("Out")


class Together(Generic[Key, Out]):
    """Pieces of work that run side by side, and those that are held until what they wait for has come."""

    def __init__(self, context: FlowContext) -> None:
        """Start without any; `close` has to be called at the end."""
        self._context = context
        self._tasks: dict[asyncio.Task[Out], Key] = {}
        self._done: deque[asyncio.Task[Out]] = deque()
        self._held: dict[Key, list[WaitFor]] = {}
        self._wake = asyncio.Event()
        self._heard = False
        """Whether something came since somebody looked at those that are held."""

    def __len__(self) -> int:
        """How many run."""
        return len(self._tasks)

    @property
    def holding(self) -> bool:
        """Whether any has to wait."""
        return bool(self._held)

    @property
    def waits(self) -> list[WaitFor]:
        """Everything that is waited for."""
        return [wait for waits in self._held.values() for wait in waits]

    def start(self, key: Key, work: Coroutine[Any, Any, Out]) -> None:
        """Begin a piece of work."""
        task = asyncio.create_task(work)
        self._tasks[task] = key
        task.add_done_callback(self._note)

    def hold(self, key: Key, suspended: Suspended) -> None:
        """Keep a piece of work that has to wait."""
        self._held[key] = suspended.waits
        self._context.fires.listeners.add(self._hear)
        if self._came(suspended.waits):
            self._hear()

    async def next(self) -> tuple[Key, asyncio.Task[Out]] | None:
        """Give one that has ended, or None as soon as something came for those that are held."""
        while not self._done:
            if self._heard:
                return None
            self._wake.clear()
            await self._wake.wait()
        task = self._done.popleft()
        return self._tasks.pop(task), task

    def freed(self) -> list[Key]:
        """Give those that can go on, and hold them no longer."""
        if not self._heard:
            return []
        self._heard = False
        found = [key for key, waits in self._held.items() if self._came(waits)]
        for key in found:
            del self._held[key]
        return found

    async def close(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        self._context.fires.listeners.discard(self._hear)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _came(self, waits: list[WaitFor]) -> bool:
        return any(self._context.journal.get(wait.path) is not None for wait in waits)

    def _hear(self) -> None:
        self._heard = True
        self._wake.set()

    def _note(self, task: asyncio.Task[Out]) -> None:
        self._done.append(task)
        self._wake.set()


async def for_each(
    context: FlowContext,
    keys: Iterable[Key],
    make: Callable[[Key], Coroutine[Any, Any, None]],
    place: Callable[[Key], str],
    most: int,
) -> None:
    """Do a piece of work for each key, at most `most` at once; `place` is the path that one records its steps below.

    Raises the first failure, or `Suspended` with every wait when nothing else
    is left. A piece of work that has to wait takes no place, and is made anew
    as soon as something came for it.
    """
    together: Together[Key, None] = Together(context)
    line = _Line(keys)
    try:
        while True:
            if most == 1 and line.more():  # alone, it needs nobody to wait for it
                await _take(together, key := line.next(), make(key))
            while len(together) < most > 1 and line.more():
                together.start(key := line.next(), make(key))
            ended = await together.next() if together else None
            if ended is not None:
                await _take(together, *ended)
            freed = together.freed()
            for key in freed:
                await context.fires.reload(place(key))
            line.again(freed)
            if not together and not line.more():
                break
    finally:
        await together.close()
    if together.holding:
        raise Suspended(*together.waits)


async def _take(together: Together[Key, None], key: Key, work: Awaitable[None]) -> None:
    try:
        await work
    except Suspended as suspended:
        together.hold(key, suspended)


class _Line(Generic[Key]):
    """What is to be done next: what can go on, then what has not begun."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys: Iterator[Key] = iter(keys)
        self._next: deque[Key] = deque()

    def more(self) -> bool:
        if not self._next:
            self._next.extend(islice(self._keys, 1))
        return bool(self._next)

    def next(self) -> Key:
        return self._next.popleft()

    def again(self, keys: list[Key]) -> None:
        self._next.extendleft(reversed(keys))
