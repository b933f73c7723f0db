"""Where organisations' agents reach for: what was blocked, and which hosts are new (S203)."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from uuid import UUID

import structlog

from agent_factory.database.pool import Pool
from agent_factory.kit.errors import Problem
from agent_factory.security.audit.allowance import Allowance
from agent_factory.security.audit.event import Event, Outcome, record_alone, record_once
from agent_factory.security.audit.settings import AuditSettings

log = structlog.stdlib.get_logger(__name__)

BLOCKED = "egress.blocked"
NEW_HOST = "egress.new_host"
_MOST_KNOWN = 100_000
"""Hosts of organisations that a process remembers; of others it asks the trail itself."""
_MOST_WRITING = 100
"""Events that are being written at a time; who reaches for more than that is written down by then."""


class Lookout:
    """Records what the guarded client tells, after it: nobody's request waits for it."""

    def __init__(self, pool: Pool, settings: AuditSettings) -> None:
        self._pool = pool
        self._blocks = Allowance(settings.refusals)
        self._news = Allowance(settings.refusals)
        self._known: OrderedDict[tuple[UUID, str], None] = OrderedDict()
        self._writing: set[asyncio.Task[None]] = set()

    def of(self, organization_id: UUID) -> Callable[[str, bool], None]:
        """Give what an organisation's client is watched by."""

        def see(host: str, blocked: bool) -> None:
            (self._blocked if blocked else self._reached)(organization_id, host)

        return see

    async def close(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*self._writing)

    def _blocked(self, organization_id: UUID, host: str) -> None:
        left_out = self._blocks.take(organization_id)
        if left_out is None:
            return
        details = {"left_out_before": left_out} if left_out else {}
        event = Event(
            action=BLOCKED, organization_id=organization_id, resource=host, outcome=Outcome.REFUSED, details=details
        )
        self._write(record_alone(self._pool, event))

    def _reached(self, organization_id: UUID, host: str) -> None:
        place = (organization_id, host)
        if place in self._known:
            self._known.move_to_end(place)
            return
        if self._news.take(organization_id) is None:
            return
        event = Event(action=NEW_HOST, organization_id=organization_id, resource=host, outcome=Outcome.OBSERVED)
        if self._write(record_once(self._pool, event)):
            self._known[place] = None
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)

    def _write(self, writing: Coroutine[None, None, None]) -> bool:
        if len(self._writing) >= _MOST_WRITING:
            writing.close()
            return False
        task = asyncio.create_task(_noted(writing))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return True


async def _noted(writing: Coroutine[None, None, None]) -> None:
    try:
        await writing
    except Problem as problem:
        log.warning("where an agent reached for could not be recorded", code=problem.code)
