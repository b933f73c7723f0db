"""Vectors of texts, by the model providers."""

from agent_factory.core.model import Embedder, Embeddings, UnknownModel
from agent_factory.enterprise.multitenancy.limits import Spender
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.spending import embed as embed_within_limits
from agent_factory.security.auth import Actor
from agent_factory.services.gateway.errors import NoEmbeddings


async def embed(platform: Platform, actor: Actor, model: str, texts: list[str], dimensions: int | None) -> Embeddings:
    """Turn texts into vectors; raises `NoEmbeddings` where the model's provider has none, or `LimitReached`."""
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
    spender = Spender(organization_id=actor.organization_id, key_id=actor.key_id)
    return await embed_within_limits(platform.engine.ledger, spender, found, texts, dimensions)
