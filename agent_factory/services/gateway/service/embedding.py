"""Vectors of texts, by the model providers."""

from agent_factory.core.model import Embedder, Embeddings, UnknownModel
from agent_factory.runtime.platform import Platform
from agent_factory.services.gateway.errors import NoEmbeddings


async def embed(platform: Platform, model: str, texts: list[str], dimensions: int | None) -> Embeddings:
    """Turn texts into vectors; raises `NoEmbeddings` where the model's provider has none."""
    # OpenAI's own names carry no vendor, and a client that was written for OpenAI sends them.
    name = f"openai:{model}" if model.startswith("text-embedding-") else model
    try:
        found = await platform.resources.models.find(name)
    except UnknownModel as problem:
        raise NoEmbeddings(problem.detail, "model") from None
    if not isinstance(found.provider, Embedder):
        raise NoEmbeddings(
            f"{found.provider.name} has no embeddings; use openai:…, ollama:…, an endpoint of your own, or demo.",
            "model",
        )
    return await found.provider.embed(found.model, texts, dimensions)
