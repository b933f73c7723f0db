"""`POST /v1/chat/completions`: one turn of a deployed agent, as OpenAI's clients know it."""

from functools import partial

import msgspec
from fastapi import Request
from starlette.responses import Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep
from agent_factory.api.direct import direct
from agent_factory.api.routing import router as make_router
from agent_factory.kit.clock import now
from agent_factory.services.gateway import service
from agent_factory.services.gateway.endpoints.documents import answer, body
from agent_factory.services.gateway.endpoints.turns import Turn, TurnStream, whole
from agent_factory.services.gateway.rules import agent_name
from agent_factory.services.gateway.schemas.chat import ChatRequest, ChatStream, completion
from agent_factory.services.gateway.schemas.wire import read
from agent_factory.services.gateway.service import Ask

router = make_router("/v1/chat/completions", "openai", problems=False)

_decoder = msgspec.json.Decoder(ChatRequest)


@router.post(
    "",
    name="chat_completions",
    openapi_extra=body(ChatRequest),
    responses=answer("The answer: one `chat.completion`, or a stream of `chat.completion.chunk`.", stream=True),
)
@needs("agent:run", inside=True, audited=False)
@direct
async def create(request: Request, actor: ActorDep, platform: PlatformDep) -> Response:
    """Ask a deployed agent. The agent calls its own tools; the answer holds its words."""
    asked = read(await request.body(), _decoder)
    asked.check()
    run = await service.begin(
        platform,
        actor,
        Ask(
            agent=agent_name(asked.model),
            said=asked.said(),
            stream=bool(asked.stream),
            settings=asked.settings(),
            output=asked.output(),
            client_tools=asked.client_tools(),
        ),
    )
    turn = Turn(platform, actor, run)
    id_ = "chatcmpl-" + turn.headers["x-run-id"].removeprefix("run_")
    created = int(now().timestamp())
    if asked.stream:
        usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        return TurnStream(turn, ChatStream(id_, created, asked.model, usage=usage))
    return await whole(request, turn, partial(completion, id_, created, asked.model))
