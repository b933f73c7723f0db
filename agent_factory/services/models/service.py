"""Which models and vendors there are."""

from agent_factory.core.model import ModelInfo
from agent_factory.runtime.models import Models, ProviderStatus


async def available(models: Models) -> list[ModelInfo]:
    """List the models that can be used now; a vendor that is away is left out."""
    return await models.available()


def providers(models: Models) -> list[ProviderStatus]:
    """List the vendors and what each still needs."""
    return models.status()
