"""The doors of a run as its tasks see them: no task fails because a database is away or the run was taken over."""

from agent_factory.core.journal import Entry, Journal
from agent_factory.kit.errors import Problem
from agent_factory.runtime.flow.context import WaitDoor
from agent_factory.runtime.flow.fires import FireDoor
from agent_factory.runtime.flow.outcome import WaitFor
from agent_factory.runtime.flow.variables import Payloads


class Interrupted(BaseException):
    """Carries the reason why a run cannot go on up to whoever runs it.

    No error, so that no task takes it for its own.
    """

    def __init__(self, reason: Exception) -> None:
        """Keep the reason."""
        super().__init__(str(reason))
        self.reason = reason


class WatchedJournal:
    """A journal that cannot be written to interrupts the run."""

    def __init__(self, journal: Journal) -> None:
        """Watch a journal."""
        self._journal = journal
        self.get = journal.get

    async def put(self, entry: Entry, *, durable: bool) -> None:
        """Record a step."""
        try:
            await self._journal.put(entry, durable=durable)
        except Exception as error:
            raise Interrupted(error) from error

    async def flush(self) -> None:
        """Return when every earlier entry is committed."""
        try:
            await self._journal.flush()
        except Exception as error:
            raise Interrupted(error) from error


class WatchedWaits:
    """Waits that cannot be registered interrupt the run."""

    def __init__(self, waits: WaitDoor) -> None:
        """Watch a door."""
        self._waits = waits

    async def register(self, wait: WaitFor) -> bool:
        """Make a wait known."""
        try:
            return await self._waits.register(wait)
        except Exception as error:
            raise Interrupted(error) from error


class WatchedFires:
    """A journal that cannot be read again interrupts the run."""

    def __init__(self, fires: FireDoor) -> None:
        """Watch a door."""
        self._fires = fires
        self.listeners = fires.listeners

    async def reload(self, path: str) -> None:
        """Have the journal know again what is recorded."""
        try:
            await self._fires.reload(path)
        except Exception as error:
            raise Interrupted(error) from error


class WatchedPayloads:
    """A store that is away interrupts the run; a value that is gone or too large fails the task it belongs to."""

    def __init__(self, payloads: Payloads) -> None:
        """Watch a store."""
        self._payloads = payloads

    async def put(self, data: bytes) -> str:
        """Store JSON."""
        try:
            return await self._payloads.put(data)
        except Problem as problem:
            if problem.retryable:
                raise Interrupted(problem) from problem
            raise
        except Exception as error:
            raise Interrupted(error) from error

    async def get(self, digest: str) -> bytes:
        """Return what was stored."""
        try:
            return await self._payloads.get(digest)
        except Problem as problem:
            if problem.retryable:
                raise Interrupted(problem) from problem
            raise
        except Exception as error:
            raise Interrupted(error) from error
