"""What well-known servers of chat completions do differently, by their host."""

from urllib.parse import urlsplit

from agent_factory.providers.wire.chat_messages import Dialect


def dialect_of(provider: str, url: str) -> Dialect:
    """Choose the dialect for a base URL; a host that is not known speaks the plain one."""
    host = urlsplit(url).hostname or ""
    if host == "api.openai.com" or host.endswith(".openai.azure.com"):
        return Dialect(provider, new_limit=True, strict=True)
    if host.endswith("mistral.ai"):
        return Dialect(provider, required="any", documents_by_url=True, bridged=True)
    return Dialect(provider)
