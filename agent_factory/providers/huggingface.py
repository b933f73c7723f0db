"""Hugging Face's router to its inference providers."""

from agent_factory.core.model import ModelProvider
from agent_factory.providers import Access
from agent_factory.providers.wire.chat_completions import ChatCompletions
from agent_factory.providers.wire.chat_messages import Dialect
from agent_factory.providers.wire.provider import WireProvider
from agent_factory.security.egress import Egress

URL = "https://router.huggingface.co/v1"


class HuggingFace:
    """Models of the Hub, by the OpenAI format."""

    name = "hf"
    needs = "Set HF_TOKEN."

    def build(self, access: Access, egress: Egress) -> ModelProvider:
        """Make the client."""
        reached = Access(access.name, access.url or URL, access.api_key, access.context_window)
        return WireProvider(reached, egress, ChatCompletions(Dialect(access.name)))


plugin = HuggingFace()
