"""Who does something next: tasks take turns by organisation, and inside one by priority."""

import asyncio
import heapq
from collections import OrderedDict
from uuid import UUID


class Gate:
    """A number of places, given to organisations in turn.

    A place that becomes free goes to the organisation that has waited longest
    since it was last given one, however many tasks the others have waiting.
    """

    def __init__(self, places: int) -> None:
        """Start with every place free."""
        self._free = places
        self._waiting: OrderedDict[UUID, list[tuple[int, int, asyncio.Future[None]]]] = OrderedDict()
        self._count = 0

    def place(self, organization_id: UUID, priority: int = 0) -> "Place":
        """Hold a place for the block of an `async with`."""
        return Place(self, organization_id, priority)

    async def enter(self, organization_id: UUID, priority: int) -> None:
        """Take a place when it is the organisation's turn."""
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._waiting.setdefault(organization_id, []), (-priority, self._count, turn))
        self._call()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # called in and cancelled at once
            raise

    def leave(self) -> None:
        """Give a place back."""
        self._free += 1
        self._call()

    def _call(self) -> None:
        while self._free and self._waiting:
            organization_id, line = self._waiting.popitem(last=False)
            _, _, turn = heapq.heappop(line)
            if line:
                self._waiting[organization_id] = line  # behind all others
            if not turn.done():
                self._free -= 1
                turn.set_result(None)


class Place:
    """A place at a gate; a class, for an async generator a task would cost more than most tasks."""

    def __init__(self, gate: Gate, organization_id: UUID, priority: int) -> None:
        """Ask for nothing yet."""
        self._gate = gate
        self._organization_id = organization_id
        self._priority = priority

    async def __aenter__(self) -> None:
        """Wait for the organisation's turn."""
        await self._gate.enter(self._organization_id, self._priority)

    async def __aexit__(self, *_: object) -> None:
        """Let the next one in."""
        self._gate.leave()
