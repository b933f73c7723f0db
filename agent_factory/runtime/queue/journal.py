"""The memory of a workflow run: group-committed, and forgotten as soon as it is committed."""

from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import msgspec

from agent_factory.core.journal import Entry
from agent_factory.kit.errors import Unavailable
from agent_factory.runtime.journal import Fenced, Put, Writer

_MOST = 128
"""Entries that wait for the next commit; more are committed at once."""

_NUMBERED = 8192
"""Entries whose number is still known."""


class Spent(msgspec.Struct):
    """What a run has used; money is None where no price was known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = None


class FlowJournal:
    """A run's journal, over the writer of its process.

    `recorded` is what an earlier activation has left and this one may ask for;
    `last` is the number of the last recorded entry. What this activation
    records is known only until it is committed: whoever recorded it has it.
    """

    def __init__(
        self,
        writer: Writer,
        run_id: UUID,
        organization_id: UUID,
        epoch: int,
        *,
        recorded: Mapping[str, Entry] | None = None,
        last: int = 0,
        spent: Spent | None = None,
    ) -> None:
        """Start with what is recorded."""
        self._writer = writer
        self._run_id = run_id
        self._organization_id = organization_id
        self._epoch = epoch
        self._recorded = dict(recorded or {})
        self._open: dict[str, Entry] = {}
        self._rest: list[tuple[int, Entry]] = []
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._writing = 0
        self.last = last
        self.spent = spent or Spent()
        self.broken: Fenced | Unavailable | None = None
        """Why the run can no longer be written to from here, once that is so."""

    def get(self, path: str) -> Entry | None:
        """Return what an earlier activation recorded for a step, or this one a moment ago."""
        return self._recorded.get(path) or self._open.get(path)

    def number(self, path: str) -> int | None:
        """Return the number of a step that was recorded lately, the first being 1."""
        return self._numbers.get(path)

    async def put(self, entry: Entry, *, durable: bool) -> None:
        """Record a step; see `core.journal.Journal`."""
        self.last += 1
        self._open[entry.path] = entry
        self._rest.append((self.last, entry))
        self._numbers[entry.path] = self.last
        if len(self._numbers) > _NUMBERED:
            self._numbers.popitem(last=False)
        self._spend(entry)
        # while an earlier entry is being committed the next one waits for it, so that both are told in their order
        if durable or self._writing or len(self._rest) >= _MOST:
            await self.flush()

    async def note(self, entry: Entry) -> None:
        """Record something that came from outside, and that the interpreter is still to ask for."""
        if entry.path not in self._recorded:
            self._recorded[entry.path] = entry
            await self.put(entry, durable=False)

    def know(self, recorded: Mapping[str, Entry]) -> None:
        """Take in what is recorded, for a part of the run that is walked again."""
        self._recorded.update(recorded)

    async def flush(self) -> None:
        """Return when every earlier entry is committed."""
        if not self._rest and not self._writing:
            return
        entries = self.take()
        self._writing += 1
        try:
            await self._writer.put(Put(self._run_id, self._organization_id, self._epoch, entries))
        except BaseException as error:
            self._rest[:0] = entries  # writing a step twice does no harm, losing one does
            if isinstance(error, Fenced | Unavailable):
                self.broken = error
            raise
        else:
            for _, entry in entries:
                self._open.pop(entry.path, None)
        finally:
            self._writing -= 1

    def take(self) -> list[tuple[int, Entry]]:
        """Hand over the entries that are not committed yet, for the statement that ends the activation."""
        entries, self._rest = self._rest, []
        return entries

    def _spend(self, entry: Entry) -> None:
        self.spent.input_tokens += entry.input_tokens
        self.spent.output_tokens += entry.output_tokens
        if entry.cost_usd is not None:
            self.spent.cost_usd = (self.spent.cost_usd or Decimal(0)) + Decimal(entry.cost_usd)
