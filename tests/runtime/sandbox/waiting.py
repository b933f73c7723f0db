"""Waiting until something outside of this process holds."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    """Ask again and again until the answer is yes; an assertion fails when it is not so in time."""
    end = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < end, "it did not come to hold"
        await asyncio.sleep(0.01)
