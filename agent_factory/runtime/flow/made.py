"""What the tasks of one run share, made once: compiled tools and agents."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Made:
    """Things by key. What many tasks ask for at once is made by the first of them."""

    def __init__(self) -> None:
        """Start empty."""
        self._things: dict[Hashable, Any] = {}
        self._locks: dict[Hashable, asyncio.Lock] = {}

    async def once(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """Give the thing of a key, made if need be; a failure to make it is raised, and the next one tries again."""
        if key not in self._things:
            async with self._locks.setdefault(key, asyncio.Lock()):
                if key not in self._things:
                    self._things[key] = await make()
        return self._things[key]
