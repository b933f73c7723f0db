"""Language models, one file a vendor."""

from typing import Protocol

import msgspec

from agent_factory.core.model import ModelProvider
from agent_factory.security.egress import Egress


class Access(msgspec.Struct, frozen=True):
    """How one endpoint is reached: what it is called here, where it is, and with which key.

    `trusted` opens a private address; only for what the operator configured.
    """

    name: str
    url: str = ""
    api_key: str | None = None
    context_window: int | None = None
    protocol: str = "openai"
    trusted: bool = True


class ProviderFactory(Protocol):
    """A provider plugin: `plugin = …` at the end of a file in `providers/`.

    `needs` says in one sentence what has to be set before it can be used.
    """

    name: str
    needs: str

    def build(self, access: Access, egress: Egress) -> ModelProvider:
        """Make the client of one endpoint; it opens no connection yet."""
        ...
