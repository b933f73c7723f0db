"""`GET /v1/models`: the deployed agents of the caller's organisation, as models."""

from typing import Any

import msgspec
from starlette.responses import Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep
from agent_factory.api.routing import router as make_router
from agent_factory.services.gateway import service
from agent_factory.services.gateway.endpoints.documents import answer
from agent_factory.services.gateway.rules import agent_name, model_id
from agent_factory.services.gateway.service import Offer

router = make_router("/v1/models", "openai", problems=False)


@router.get("", name="list_models", responses=answer("The models."))
@needs("agent:read", inside=True)
async def list_(actor: ActorDep, platform: PlatformDep) -> Response:
    """List what `model` may be: every deployed agent."""
    found = [_model(offer) async for offer in service.all_offers(platform, actor)]
    return Response(msgspec.json.encode({"object": "list", "data": found}), media_type="application/json")


@router.get("/{model}", name="get_model", responses=answer("The model."))
@needs("agent:read", inside=True)
async def get(actor: ActorDep, platform: PlatformDep, model: str) -> Response:
    """Show one model, for example `agent:support`."""
    offer = await service.offer(platform, actor, "agent:read", agent_name(model))
    return Response(msgspec.json.encode(_model(offer)), media_type="application/json")


def _model(offer: Offer) -> dict[str, Any]:
    return {"id": model_id(offer.name), "object": "model", "created": offer.created, "owned_by": offer.organization}
