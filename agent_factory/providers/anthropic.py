"""Anthropic."""

from agent_factory.core.model import ModelProvider
from agent_factory.providers import Access
from agent_factory.providers.wire.messages import AnthropicMessages
from agent_factory.providers.wire.provider import WireProvider
from agent_factory.security.egress import Egress

URL = "https://api.anthropic.com/v1"


class Anthropic:
    """The messages API at Anthropic, or at the base URL that replaces it."""

    name = "anthropic"
    needs = "Set ANTHROPIC_API_KEY."

    def build(self, access: Access, egress: Egress) -> ModelProvider:
        """Make the client; a URL with or without `/v1` is taken, as Anthropic's own SDK has it."""
        base = (access.url or URL).rstrip("/").removesuffix("/v1") + "/v1"
        reached = Access(access.name, base, access.api_key, access.context_window)
        return WireProvider(reached, egress, AnthropicMessages(access.name))


plugin = Anthropic()
