"""Secrets as runs use them: one value, for one host, at the moment of sending."""

from uuid import UUID

from agent_factory.database.session import Database
from agent_factory.runtime.secrets import Stored
from agent_factory.security.audit import Event, Outcome, record
from agent_factory.security.encryption import Vault
from agent_factory.services.integrations import queries
from agent_factory.services.integrations.rules import place_of


class StoredSecrets:
    """The secrets that organisations keep, for their runs."""

    def __init__(self, database: Database, vault: Vault) -> None:
        """Open nothing yet."""
        self._database = database
        self._vault = vault

    async def find(self, organization_id: UUID, name: str) -> Stored | None:
        """Find what an organisation keeps under a name, and open it."""
        async with self._database.read(organization_id) as session:
            row = await queries.secret_named(session, organization_id, name)
        if row is None:
            return None

        async def value() -> str:
            opened = await self._vault.decrypt(organization_id, place_of(row.id), row.value)
            await queries.used(self._database.pool, row.id)
            return opened.decode()

        return Stored(hosts=tuple(row.hosts), value=value)

    async def refused(self, organization_id: UUID, name: str, host: str) -> None:
        """Note in the audit trail that a secret was not sent to a host."""
        event = Event(
            action="secret.host_refused",
            organization_id=organization_id,
            outcome=Outcome.REFUSED,
            details={"name": name, "host": host},
        )
        async with self._database.write(organization_id) as session:
            await record(session, event)
