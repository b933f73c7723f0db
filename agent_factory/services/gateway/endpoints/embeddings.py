"""`POST /v1/embeddings`: vectors of texts, by a configured provider or by the demo's rules."""

import msgspec
from fastapi import Request
from starlette.responses import Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep
from agent_factory.api.routing import router as make_router
from agent_factory.services.gateway import service
from agent_factory.services.gateway.endpoints.documents import answer, body
from agent_factory.services.gateway.schemas.embeddings import EmbeddingRequest, embeddings
from agent_factory.services.gateway.schemas.wire import read

router = make_router("/v1/embeddings", "openai", problems=False)

_decoder = msgspec.json.Decoder(EmbeddingRequest)


@router.post(
    "", name="embeddings", openapi_extra=body(EmbeddingRequest), responses=answer("The vectors, in the order asked.")
)
@needs("agent:run", audited=False)
async def create(request: Request, actor: ActorDep, platform: PlatformDep) -> Response:
    """Turn texts into vectors. `model` is `vendor:model`, or `demo`."""
    asked = read(await request.body(), _decoder)
    made = await service.embed(platform, actor, asked.model, asked.texts(), asked.dimensions)
    raw = embeddings(made.model, made.vectors, made.tokens, asked.encoding_format)
    return Response(raw, media_type="application/json")
