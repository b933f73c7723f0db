"""Those in this process who wait for news of a run."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from uuid import UUID


class Pokes:
    """Wakes whoever waits for a run."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._waiting: dict[UUID, set[asyncio.Event]] = {}

    def poke(self, run_id: UUID) -> None:
        """Wake who waits for news of a run."""
        for event in self._waiting.get(run_id, ()):
            event.set()

    @contextmanager
    def of(self, run_id: UUID) -> Generator[asyncio.Event, None, None]:
        """Give an event that is set by each poke, for the block."""
        poke = asyncio.Event()
        self._waiting.setdefault(run_id, set()).add(poke)
        try:
            yield poke
        finally:
            self._waiting[run_id].discard(poke)
            if not self._waiting[run_id]:
                del self._waiting[run_id]


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most for some seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
