"""HTTP for models and vendors."""

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep
from agent_factory.api.routing import router
from agent_factory.services.models import service
from agent_factory.services.models.schemas import ModelList, ModelOut, ProviderList, ProviderOut

models = router("/api/v1/models", "models")
providers = router("/api/v1/providers", "providers")


@models.get("")
@needs("agent:read")
async def list_(actor: ActorDep, platform: PlatformDep) -> ModelList:  # noqa: ARG001 - callers only
    """List the models of every configured vendor."""
    found = await service.available(platform.resources.models)
    return ModelList(data=[ModelOut.model_validate(model) for model in found])


@providers.get("", name="list_")
@needs("agent:read")
async def list_providers(actor: ActorDep, platform: PlatformDep) -> ProviderList:  # noqa: ARG001 - callers only
    """List the vendors, and what each still needs."""
    found = service.providers(platform.resources.models)
    return ProviderList(data=[ProviderOut.model_validate(provider) for provider in found])
