"""Ollama on this machine or another."""

from agent_factory.core.model import ModelProvider
from agent_factory.providers import Access
from agent_factory.providers.wire.chat_completions import ChatCompletions
from agent_factory.providers.wire.chat_messages import Dialect
from agent_factory.providers.wire.embeddings import EmbeddingProvider
from agent_factory.security.egress import Egress

URL = "http://127.0.0.1:11434"


class Ollama:
    """The models that an Ollama server has pulled, by its OpenAI-compatible door."""

    name = "ollama"
    needs = "Start Ollama, or set AF_MODELS__OLLAMA_URL."

    def build(self, access: Access, egress: Egress) -> ModelProvider:
        """Make the client; the URL is the server's, without `/v1`."""
        base = (access.url or URL).rstrip("/").removesuffix("/v1") + "/v1"
        reached = Access(access.name, base, access.api_key, access.context_window)
        return EmbeddingProvider(reached, egress, ChatCompletions(Dialect(access.name)))


plugin = Ollama()
