"""What one process has open."""

from datetime import timedelta

import msgspec

from agent_factory.connectors.mail.post import Post
from agent_factory.database.session import Database
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.engine import Engine
from agent_factory.runtime.news import News
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.recent import Recent
from agent_factory.security.audit import Trail
from agent_factory.security.encryption import Vault
from agent_factory.security.passwords import Passwords
from agent_factory.security.tokens import Issuers, Tokens


class Platform(msgspec.Struct, frozen=True):
    """The database, the turns and workflow runs over it, what agents may reach, and the vault; at `app.state.platform`.

    `trail` is the audit trail. `tokens` signs and reads access tokens; `issuers` reads those of others. `mail`
    takes letters with a transaction and sends them after it; `passwords` hashes and checks without holding up the
    rest. `registration` says who may come in anew: `open`, `invited` or `closed`, and `grace` how long a deleted
    organisation can be restored. `recent` holds what rooms looked up within the last second; by `news`, rooms hear
    of what those below them do.
    """

    database: Database
    engine: Engine
    queue: Queue
    resources: Resources
    vault: Vault
    trail: Trail
    tokens: Tokens
    issuers: Issuers
    mail: Post
    passwords: Passwords
    registration: str = "invited"
    grace: timedelta = timedelta(days=30)
    recent: Recent = msgspec.field(default_factory=Recent)
    news: News = msgspec.field(default_factory=News)
