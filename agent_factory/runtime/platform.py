"""What one process has open."""

import msgspec

from agent_factory.database.session import Database
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.engine import Engine
from agent_factory.runtime.news import News
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.recent import Recent
from agent_factory.security.encryption import Vault


class Platform(msgspec.Struct, frozen=True):
    """The database, the turns and workflow runs over it, what agents may reach, and the vault; at `app.state.platform`.

    `recent` holds what rooms looked up within the last second; by `news`, rooms
    hear of what those below them do.
    """

    database: Database
    engine: Engine
    queue: Queue
    resources: Resources
    vault: Vault
    recent: Recent = msgspec.field(default_factory=Recent)
    news: News = msgspec.field(default_factory=News)
