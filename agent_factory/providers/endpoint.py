"""Any server that speaks OpenAI's or Anthropic's format at a base URL."""

from agent_factory.core.model import ModelProvider
from agent_factory.providers import Access
from agent_factory.providers.wire.chat_completions import ChatCompletions
from agent_factory.providers.wire.dialects import dialect_of
from agent_factory.providers.wire.embeddings import EmbeddingProvider
from agent_factory.providers.wire.messages import AnthropicMessages
from agent_factory.providers.wire.provider import WireProvider
from agent_factory.providers.wire.responses import Responses
from agent_factory.security.egress import Egress


class Endpoint:
    """A configured base URL, such as that of vLLM, llama.cpp, LM Studio, Groq or OpenRouter."""

    name = "endpoint"
    needs = 'Set AF_MODELS__ENDPOINTS, for example {"vllm": {"url": "http://127.0.0.1:8000/v1"}}.'

    def build(self, access: Access, egress: Egress) -> ModelProvider:
        """Make the client in the protocol that the endpoint speaks."""
        if access.protocol == "anthropic":
            return WireProvider(access, egress, AnthropicMessages(access.name))
        if access.protocol == "responses":
            return WireProvider(access, egress, Responses(access.name))
        return EmbeddingProvider(access, egress, ChatCompletions(dialect_of(access.name, access.url)))


plugin = Endpoint()
