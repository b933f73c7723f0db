"""A map that forgets: what it holds is bounded in number and in time."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Holds each entry for `seconds`, and the `most` newest of them; what is over leaves the memory too."""

    def __init__(self, seconds: float, most: int) -> None:
        """Start empty."""
        self._seconds = seconds
        self._most = most
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        self._tidy()
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return an entry that is not over yet."""
        self._tidy()
        found = self._entries.get(key)
        return None if found is None else found[1]

    def values(self) -> list[V]:
        """List the entries that are not over yet."""
        self._tidy()
        return [value for _, value in self._entries.values()]

    def keep(self, key: K, value: V) -> None:
        """Hold an entry from now on."""
        self._entries[key] = (time.monotonic() + self._seconds, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget an entry at once."""
        self._entries.pop(key, None)

    def _tidy(self) -> None:
        now = time.monotonic()
        while self._entries and next(iter(self._entries.values()))[0] <= now:
            self._entries.popitem(last=False)
