"""The outputs of many items or iterations, of which only so much stays in memory."""

from typing import Any

import msgspec

from agent_factory.runtime.flow.level import read_output
from agent_factory.runtime.flow.outcome import Outcome
from agent_factory.runtime.flow.variables import Items, Ref, Shelf, looks_stored, to_json

_SMALL = 1_024
"""Bytes up to which an output always stays in memory: a reference takes as much."""

_BUDGET = 1_000_000
"""Bytes of outputs that stay in memory before larger ones are stored."""


class Collector:
    """Gathers outputs by their number."""

    def __init__(self, count: int, shelf: Shelf) -> None:
        """Make room for so many."""
        self.values = Items([None] * count)
        self._shelf = shelf
        self._held = 0

    async def keep(self, value: Any) -> tuple[Any, bytes]:  # noqa: ANN401 - any JSON value
        """Return an output or a reference to it, and its JSON."""
        if isinstance(value, Ref):
            return value, to_json(value)
        kept, data = await self._shelf.keep(value)
        if not isinstance(kept, Ref) and len(data) > _SMALL and self._held + len(data) > _BUDGET:
            kept = await self._shelf.store(data)
            data = msgspec.json.encode(kept)
        return kept, data

    def add(self, index: int, value: Any, size: int) -> None:  # noqa: ANN401 - any JSON value
        """Note an output that `keep` returned, and the bytes of its JSON."""
        self._held += size
        if index == len(self.values):
            self.values.append(value)
        else:
            self.values[index] = value

    def recorded(self, index: int, outcome: Outcome, size: int) -> None:
        """Note an output that an earlier attempt recorded."""
        value = {"error": outcome.error} if outcome.status == "failed" else read_output(outcome)
        self.add(index, value, size)

    async def finish(self) -> Any:  # noqa: ANN401 - a list, or a reference to one
        """Give all outputs as one list, or as a reference to a list of references."""
        refs = [v for v in self.values if isinstance(v, Ref)]
        if not refs:
            return list(self.values)
        for index, value in enumerate(self.values):
            if looks_stored(value):
                self.values[index] = await self._shelf.store(to_json(value))
        data = to_json(list(self.values))
        return await self._shelf.store(data, items=True, total=len(data) + sum(r.total for r in refs))
