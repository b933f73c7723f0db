"""Which pages of other sites may read what we answer: those that the caller's own organisation named (S24).

Never all of them, and never with cookies: a page sends its credentials itself,
as an `Authorization` header.
"""

import time
from uuid import UUID

from agent_factory.database import origins as store
from agent_factory.database.pool import Pool
from agent_factory.kit.errors import Problem

_BELIEVED = 5.0
"""Seconds that an answer of the database is believed; a change reaches every process within this time."""
_MOST_KNOWN = 10_000
_LONGEST = 300
"""Characters of an origin that can be allowed."""

Lines = list[tuple[bytes, bytes]]

_EXPOSED = (
    b"access-control-expose-headers",
    b"etag, location, ratelimit, ratelimit-policy, retry-after, traceparent, x-request-id, x-run-id",
)


class Origins:
    """What the organisations allow, as the database said a few seconds ago."""

    def __init__(self, pool: Pool) -> None:
        """Look it up by way of this pool."""
        self._pool = pool
        self._known: dict[str, tuple[frozenset[UUID], float]] = {}

    async def allowed_by(self, origin: bytes) -> frozenset[UUID]:
        """Give the organisations that allow an origin; raises `Unavailable`."""
        if len(origin) > _LONGEST or not origin.isascii():
            return frozenset()
        name = origin.decode()
        now = time.monotonic()
        known = self._known.get(name)
        if known is not None and now < known[1]:
            return known[0]
        found = await store.organizations(self._pool, name)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[name] = (found, now + _BELIEVED)
        return found

    async def lines(self, origin: bytes, organization_id: UUID | None) -> Lines:
        """Give the headers of an answer to a page: none, unless the caller's organisation allows its origin."""
        try:
            allowed = organization_id is not None and organization_id in await self.allowed_by(origin)
        except Problem:
            allowed = False
        return [allowing(origin), _EXPOSED] if allowed else []


def preflight(origin: bytes, asked: bytes) -> Lines:
    """Give the headers that let pages of an origin ask with the headers that they asked for.

    Any will do: what a request may do shows by its credentials, and no header that we know does harm.
    """
    return [
        allowing(origin),
        (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
        (b"access-control-allow-headers", asked),
        (b"access-control-max-age", b"600"),
    ]


def allowing(origin: bytes) -> tuple[bytes, bytes]:
    """Give the header that lets pages of an origin read."""
    return (b"access-control-allow-origin", origin)
