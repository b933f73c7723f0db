"""When a task of a run at work may begin."""

import asyncio

from agent_factory.runtime.heartbeat import Heartbeat
from agent_factory.runtime.queue.gate import Place
from agent_factory.runtime.queue.live import LiveFlow


class Turn:
    """A task's place at the gate; one that is called in when its run may be somebody else's by now does not begin."""

    def __init__(self, place: Place, live: LiveFlow, heart: Heartbeat) -> None:
        """Ask for nothing yet."""
        self._place = place
        self._live = live
        self._heart = heart

    async def __aenter__(self) -> None:
        """Wait for the turn."""
        await self._place.__aenter__()
        if self._heart.lapsed:  # the process was stopped for longer than its lease
            await self._place.__aexit__()
            self._live.leave()
            raise asyncio.CancelledError

    async def __aexit__(self, *_: object) -> None:
        """Let the next one in."""
        await self._place.__aexit__()
