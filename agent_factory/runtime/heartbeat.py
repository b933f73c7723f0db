"""How a process shows that it lives, and when it may take others for dead."""

import time

from agent_factory.database.pool import Pool
from agent_factory.runtime.statements import BEAT, LEAVE


class Heartbeat:
    """The beats of one process under the name `owner`; `lease` seconds after the last one it counts as dead."""

    def __init__(self, pool: Pool, owner: str, lease: float) -> None:
        """Start silent."""
        self._pool = pool
        self._owner = owner
        self._lease = lease
        self._last: float | None = None
        self._steady = 0.0

    async def beat(self) -> None:
        """Show that the process lives."""
        await self._pool.execute(BEAT, self._owner, again=True)
        moment = time.monotonic()
        if self._last is None or moment - self._last > self._lease / 2:
            self._steady = moment
        self._last = moment

    async def keep(self) -> None:
        """Beat if half a lease has gone by since the last one, as before the first."""
        if self._last is None or time.monotonic() - self._last > self._lease / 2:
            await self.beat()

    @property
    def lapsed(self) -> bool:
        """Whether others may have taken this process for dead, as after it was stopped and went on."""
        return self._last is not None and time.monotonic() - self._last > self._lease

    @property
    def sure(self) -> bool:
        """Whether others that are silent are dead.

        Only who has been beating for a whole lease himself believes that: after
        an outage of the database nobody has beaten for a while.
        """
        return self._last is not None and not self.lapsed and time.monotonic() - self._steady >= self._lease

    async def stop(self) -> None:
        """Say that the process ends."""
        await self._pool.execute(LEAVE, self._owner)
