"""What one process has open."""

import msgspec

from agent_factory.database.session import Database
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.engine import Engine


class Platform(msgspec.Struct, frozen=True):
    """The database, the engine over it, and what agents may reach; at `app.state.platform`."""

    database: Database
    engine: Engine
    resources: Resources
