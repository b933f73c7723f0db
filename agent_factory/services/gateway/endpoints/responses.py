"""`/v1/responses`: turns that the server keeps, as OpenAI's clients know them."""

from typing import Any

import msgspec
from fastapi import Request
from starlette.responses import Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep
from agent_factory.api.direct import direct
from agent_factory.api.routing import router as make_router
from agent_factory.core.event import ApprovalNeeded, TurnCompleted, TurnFailed
from agent_factory.core.model import Usage
from agent_factory.kit import ids
from agent_factory.kit.clock import now
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor
from agent_factory.services.gateway import service
from agent_factory.services.gateway.endpoints.documents import answer, body
from agent_factory.services.gateway.endpoints.turns import JSON, Turn, TurnStream, whole
from agent_factory.services.gateway.errors import Unsupported
from agent_factory.services.gateway.rules import agent_name
from agent_factory.services.gateway.schemas.response_stream import ResponseStream
from agent_factory.services.gateway.schemas.responses import (
    Frame,
    ResponseRequest,
    completed,
    failure,
    input_items,
    status_of,
)
from agent_factory.services.gateway.schemas.wire import read
from agent_factory.services.gateway.service import Ask, Stored

router = make_router("/v1/responses", "openai", problems=False)

_decoder = msgspec.json.Decoder(ResponseRequest)


@router.post(
    "",
    name="create_response",
    openapi_extra=body(ResponseRequest),
    responses=answer("The response, or the stream of its events.", stream=True),
)
@needs("agent:run", inside=True, audited=False)
@direct
async def create(request: Request, actor: ActorDep, platform: PlatformDep) -> Response:
    """Ask a deployed agent; the conversation is kept, unless `store` is false."""
    asked = read(await request.body(), _decoder)
    asked.check()
    run = await _begin(platform, actor, asked)
    turn = Turn(platform, actor, run)
    frame = _frame(asked, run)
    if asked.stream:
        return TurnStream(turn, ResponseStream(frame))
    if asked.background:
        return Response(msgspec.json.encode(frame.response("in_progress")), 200, turn.headers, JSON)
    return await whole(request, turn, lambda end: msgspec.json.encode(completed(frame, end, int(now().timestamp()))))


@router.get("/{response_id}", name="get_response", responses=answer("The response, as far as it has come."))
@needs("agent:read", inside=True)
async def get(request: Request, actor: ActorDep, platform: PlatformDep, response_id: str) -> Response:
    """Fetch a stored response."""
    if request.query_params.get("stream") == "true":
        raise Unsupported("A stored response cannot be streamed again; fetch it whole.", "stream")
    found = await service.stored(platform, actor, response_id)
    return Response(msgspec.json.encode(_told(found)), media_type=JSON)


@router.delete("/{response_id}", name="delete_response", responses=answer("That the response is gone."))
@needs("agent:run", inside=True)
async def delete(actor: ActorDep, platform: PlatformDep, response_id: str) -> Response:
    """Erase a stored response, and its conversation with the last of its responses."""
    await service.forget(platform, actor, response_id)
    gone = {"id": response_id, "object": "response", "deleted": True}
    return Response(msgspec.json.encode(gone), media_type=JSON)


@router.post("/{response_id}/cancel", name="cancel_response", responses=answer("The response, ended."))
@needs("agent:run", inside=True, audited=False)
async def cancel(actor: ActorDep, platform: PlatformDep, response_id: str) -> Response:
    """End a response that is being worked on; one that has ended stays as it is."""
    await service.cancel(platform, actor, response_id)
    return Response(
        msgspec.json.encode(_told(await service.stored(platform, actor, response_id, "agent:run"))), media_type=JSON
    )


@router.get("/{response_id}/input_items", name="list_input_items", responses=answer("The input, as items."))
@needs("agent:read", inside=True)
async def list_input_items(actor: ActorDep, platform: PlatformDep, response_id: str) -> Response:
    """List what a stored response was asked."""
    found = await service.stored(platform, actor, response_id)
    items = input_items(response_id, found.asked.message)
    page = {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": False,
    }
    return Response(msgspec.json.encode(page), media_type=JSON)


async def _begin(platform: Platform, actor: Actor, asked: ResponseRequest) -> LiveRun:
    ask = Ask(
        agent=agent_name(asked.model),
        said=asked.said(),
        field="input",
        stream=bool(asked.stream),
        settings=asked.settings(),
        output=asked.output(),
        client_tools=asked.client_tools(),
    )
    return await service.begin_response(
        platform,
        actor,
        ask,
        store=asked.store is not False,
        previous=asked.previous_response_id,
        conversation=asked.conversation_id(),
        metadata=asked.metadata or {},
    )


def _frame(asked: ResponseRequest, run: LiveRun) -> Frame:
    return Frame(
        id=ids.encode("resp", run.id),
        created=int(now().timestamp()),
        model=asked.model,
        instructions=asked.instructions,
        previous_response_id=asked.previous_response_id,
        conversation=None if run.session_id is None else ids.encode("ses", run.session_id),
        metadata=asked.metadata or {},
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_output_tokens=asked.max_output_tokens,
        tools=asked.client_tools(),
        parallel_tool_calls=asked.parallel_tool_calls is not False,
        store=asked.store is not False,
        background=bool(asked.background),
        schema=asked.output(),
    )


def _told(found: Stored) -> dict[str, Any]:
    run = found.run
    settings = found.asked.settings or {}
    frame = Frame(
        id=ids.encode("resp", run.id),
        created=int(run.started_at.timestamp()),
        model=found.model,
        conversation=None if run.session_id is None else ids.encode("ses", run.session_id),
        metadata=found.metadata,
        temperature=settings.get("temperature"),
        top_p=settings.get("top_p"),
        max_output_tokens=settings.get("max_tokens"),
        tools=found.asked.client_tools,
        schema=found.asked.output,
    )
    match found.end:
        case TurnCompleted():
            return completed(frame, found.end, None)
        case TurnFailed():
            usage = Usage(run.input_tokens, run.output_tokens)
            status = status_of(run.status)
            error = failure(found.end.problem) if status == "failed" else None
            return frame.response(status, usage=usage, error=error)
        case None | ApprovalNeeded():
            return frame.response("in_progress")
