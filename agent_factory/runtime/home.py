"""Which organisation was the first: what the operator opens to nobody in particular is open to it alone."""

from uuid import UUID

from agent_factory.database.pool import Pool

_FIRST = """
select o.id from organizations o
where not exists (select from audit_events e where e.action = 'organizations.purged' and e.organization_id < o.id)
order by o.created_at, o.id limit 1
"""
"""Ids are in the order of time: once the first is purged, whoever came after it inherits nothing."""


class FirstOrganization:
    """Looks once, and remembers: the first stays the first."""

    def __init__(self, pool: Pool) -> None:
        """Ask nothing yet."""
        self._pool = pool
        self._known: UUID | None = None

    async def __call__(self) -> UUID | None:
        """Give the first organisation, or None where there is none yet."""
        if self._known is None:
            self._known = await self._pool.fetchval(_FIRST, again=True)
        return self._known
