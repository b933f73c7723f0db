"""OpenAI."""

import re

from agent_factory.core.model import ModelProvider
from agent_factory.providers import Access
from agent_factory.providers.wire.chat_completions import ChatCompletions
from agent_factory.providers.wire.chat_messages import Dialect
from agent_factory.providers.wire.embeddings import EmbeddingProvider
from agent_factory.security.egress import Egress

URL = "https://api.openai.com/v1"
_CHATS = re.compile(r"^(gpt-|o\d|chatgpt-|ft:)(?!.*(audio|realtime|image|tts|transcribe|instruct|search))")


class OpenAI:
    """Chat completions at OpenAI, or at the base URL that replaces it."""

    name = "openai"
    needs = "Set OPENAI_API_KEY."

    def build(self, access: Access, egress: Egress) -> ModelProvider:
        """Make the client."""
        wire = ChatCompletions(Dialect(access.name, new_limit=True, strict=True))
        own = not access.url or access.url.rstrip("/") == URL
        listed = _is_chat if own else None
        reached = Access(access.name, access.url or URL, access.api_key, access.context_window)
        return EmbeddingProvider(reached, egress, wire, listed=listed)


def _is_chat(model: str) -> bool:
    return _CHATS.match(model) is not None


plugin = OpenAI()
