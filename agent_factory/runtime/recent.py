"""What was true a moment ago."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Recent:
    """A small map that forgets: each entry after `seconds`, and the oldest beyond `most`.

    Whoever first asks for an entry that has just expired is told that there is
    none, and looks it up again; the others are given the old one for that time,
    so that not all of them look.
    """

    def __init__(self, seconds: float = 1.0, most: int = 4096) -> None:
        """Start empty."""
        self._seconds = seconds
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def get(self, key: Hashable) -> Any:  # noqa: ANN401 - what was kept
        """Return what was kept under a key lately, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        until, value = found
        late = time.monotonic() - until
        if late <= 0:
            return value
        if late < self._seconds:
            self.keep(key, value)
        return None

    def keep(self, key: Hashable, value: object) -> None:
        """Keep something from now on."""
        self._kept[key] = (time.monotonic() + self._seconds, value)
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        """Forget a key at once."""
        self._kept.pop(key, None)
