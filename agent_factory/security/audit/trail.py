"""The audit trail as a process has it open: what needs keys, counts or copies."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from uuid import UUID

import msgspec
import structlog

from agent_factory.database.session import Database
from agent_factory.kit.errors import Problem
from agent_factory.monitoring.metrics import Metrics
from agent_factory.security.audit.allowance import Allowance
from agent_factory.security.audit.event import Event, Outcome, record_alone
from agent_factory.security.audit.findings import Finding, Progress, Sources
from agent_factory.security.audit.keys import Keys
from agent_factory.security.audit.sealer import Sealer
from agent_factory.security.audit.settings import AuditSettings
from agent_factory.security.audit.verifying import verify
from agent_factory.security.audit.witness import Witness
from agent_factory.security.encryption import Vault

log = structlog.stdlib.get_logger(__name__)


class Trail:
    """Reads and checks the trail, and records what is refused; making one connects to nothing.

    `folder` takes the copies of checkpoints where the settings name no store.
    """

    def __init__(self, database: Database, vault: Vault, settings: AuditSettings, folder: Path) -> None:
        self.keys = Keys(database.pool, vault)
        self._database = database
        self._settings = settings
        self._folder = folder
        self._refusals = Allowance(settings.refusals)

    def sealer(self, metrics: Metrics | None = None) -> Sealer:
        """Make what seals and signs; its `run_forever` has to run."""
        return Sealer(self._database, self.keys, self._settings, self._folder, metrics)

    async def refused(self, event: Event) -> None:
        """Record that a known caller was refused, within bounds; raises nothing, for the refusal has to be told."""
        assert event.actor is not None, "whoever is refused is known"
        left_out = self._refusals.take(event.actor.user_id, event.actor.organization_id)
        if left_out is None:
            return
        details = {**event.details, "left_out_before": left_out} if left_out else event.details
        try:
            await record_alone(
                self._database.pool, msgspec.structs.replace(event, outcome=Outcome.REFUSED, details=details)
            )
        except Problem as problem:
            log.warning("a refused request could not be recorded", action=event.action, code=problem.code)

    async def pseudonym(self, name: str) -> str:
        """Give what stands in the trail for a name that must not, such as an address nobody has an account for."""
        return await self.keys.pseudonym(name)

    async def verify(
        self,
        organization_id: UUID | None = None,
        progress: Progress | None = None,
        step: Callable[[Progress], None] | None = None,
    ) -> AsyncGenerator[Finding, None]:
        """Name every row that was touched; of one organisation if it is named. `step` is called for each page."""
        witness = await asyncio.to_thread(Witness, self._settings.witness, self._folder)
        sources = Sources(self._database.pool, await self.keys.trusted(), witness.all)
        async for finding in verify(sources, organization_id=organization_id, progress=progress, step=step):
            yield finding
