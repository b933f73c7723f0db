"""When limits were last used, for counters that are empty: whether they are new, or have forgotten."""

from agent_factory.database.pool import Pool

_SLACK = 120.0
"""Seconds after a note for which a process may have gone on counting; notes are made every 30."""
_NEVER = 10 * 365 * 86_400.0
"""Seconds; longer than any limit's period."""
_AGO = "select date_part('epoch', now() - used_at) from rate_uses"
_NOTE = "insert into rate_uses (id, used_at) values (1, now()) on conflict (id) do update set used_at = now()"


class Uses:
    """The one row of `rate_uses`."""

    def __init__(self, pool: Pool) -> None:
        """Note in this database; this process has used nothing so far."""
        self._pool = pool
        self.noted = False

    async def ago(self) -> float:
        """Give the seconds for which nobody can have used a limit."""
        if self.noted:
            return 0.0
        found: float | None = await self._pool.fetchval(_AGO, again=True)
        return _NEVER if found is None else max(0.0, found - _SLACK)

    async def note(self) -> None:
        """Note that this process uses limits, now and until the next note."""
        await self._pool.execute(_NOTE, again=True)
        self.noted = True
