"""Who does something next: tasks take turns by organisation, and inside one by priority."""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
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

    @asynccontextmanager
    async def place(self, organization_id: UUID, priority: int = 0) -> AsyncGenerator[None, None]:
        """Hold a place for the block."""
        await self._enter(organization_id, priority)
        try:
            yield
        finally:
            self._free += 1
            self._call()

    async def _enter(self, organization_id: UUID, priority: int) -> None:
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
                self._free += 1  # called in and cancelled at once
                self._call()
            raise

    def _call(self) -> None:
        while self._free and self._waiting:
            organization_id, line = self._waiting.popitem(last=False)
            _, _, turn = heapq.heappop(line)
            if line:
                self._waiting[organization_id] = line  # behind all others
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
