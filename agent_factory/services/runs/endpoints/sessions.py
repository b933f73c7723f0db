"""HTTP for sessions and their messages."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader, Writer
from agent_factory.api.direct import direct
from agent_factory.api.etag import IfMatch, etag
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id
from agent_factory.api.sse import EventStream, last_event_id
from agent_factory.kit import ids
from agent_factory.runtime.hub import read_event_id
from agent_factory.services.runs import service
from agent_factory.services.runs.endpoints.answering import (
    DOCUMENTED,
    EVENTS,
    Wait,
    answer,
    message_of,
    session_frames,
    wants_events,
)
from agent_factory.services.runs.rules import message_out, run_ref, session_out
from agent_factory.services.runs.schemas import (
    AgentId,
    MessageOut,
    MessagePage,
    Send,
    SessionCreate,
    SessionOut,
    SessionPage,
    SessionPatch,
)

sessions = router("/api/v1/sessions", "sessions")

SessionPath = Annotated[UUID, Id("ses", in_path=True)]


@sessions.post("", status_code=201)
@needs("agent:run", inside=True, audited=False)
async def create(session: Writer, actor: ActorDep, body: SessionCreate, response: Response) -> SessionOut:
    """Begin a conversation with an agent."""
    row = await service.create_session(session, actor, body)
    response.headers["Location"] = f"/api/v1/sessions/{ids.encode('ses', row.id)}"
    response.headers["ETag"] = etag(row.revision)
    return SessionOut(**session_out(row))


@sessions.get("")
@needs("agent:read", inside=True)
async def list_(
    session: Reader, actor: ActorDep, paging: PagingDep, agent_id: Annotated[AgentId | None, Query()] = None
) -> SessionPage:
    """List conversations, newest first."""
    found = await service.list_sessions(session, actor, paging.limit, paging.after, agent_id)
    data = [SessionOut(**session_out(row)) for row in found.data]
    return SessionPage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)


@sessions.get("/{session_id}")
@needs("agent:read", inside=True)
async def get(session: Reader, actor: ActorDep, session_id: SessionPath, response: Response) -> SessionOut:
    """Show a conversation without its messages."""
    row = await service.get_session(session, actor, session_id)
    response.headers["ETag"] = etag(row.revision)
    return SessionOut(**session_out(row))


@sessions.patch("/{session_id}")
@needs("agent:run", inside=True)
async def update(
    *,
    session: Writer,
    actor: ActorDep,
    session_id: SessionPath,
    body: SessionPatch,
    response: Response,
    if_match: IfMatch = None,
) -> SessionOut:
    """Rename a conversation, or change its metadata."""
    row = await service.patch_session(session, actor, session_id, body, if_match)
    response.headers["ETag"] = etag(row.revision)
    return SessionOut(**session_out(row))


@sessions.delete("/{session_id}", status_code=204)
@needs("agent:run", inside=True)
async def delete(session: Writer, actor: ActorDep, platform: PlatformDep, session_id: SessionPath) -> None:
    """Delete a conversation with all that was said in it; a turn under way is cancelled."""
    await service.delete_session(platform, session, actor, session_id)


@sessions.get("/{session_id}/messages")
@needs("agent:read", inside=True)
async def messages_list(session: Reader, actor: ActorDep, session_id: SessionPath, paging: PagingDep) -> MessagePage:
    """List a conversation's messages, oldest first."""
    found = await service.list_messages(session, actor, session_id, paging.limit, paging.after)
    data = [MessageOut(**message_out(row)) for row in found.data]
    return MessagePage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)


@sessions.post("/{session_id}/messages", status_code=201, response_model=None, responses=DOCUMENTED)
@needs("agent:run", inside=True, audited=False)
@direct
async def messages_send(
    *,
    request: Request,
    actor: ActorDep,
    platform: PlatformDep,
    session_id: SessionPath,
    body: Send,
    wait: Wait = 60,
) -> Response:
    """Say something and get the answer.

    The turn goes on when the caller leaves. Only one turn of a conversation is
    made at a time; a second one is refused with `session_busy`.
    """
    events = wants_events(request, body.stream)
    turn = await service.send(
        platform, actor, session_id, message_of(body.content), stream=events, version=body.version
    )
    return await answer(turn, events=events, wait=wait)


@sessions.get("/{session_id}/events", response_model=None, responses=EVENTS)
@needs("agent:read", inside=True)
async def events(request: Request, actor: ActorDep, platform: PlatformDep, session_id: SessionPath) -> Response:
    """Watch a conversation: the turn at work and those to come, until the caller leaves."""
    run, event = run_ref(last_event_id(request) or "")
    run_id = ids.decode("run", run) if run else None
    watched = await service.watch_session(platform, actor, session_id, run_id, read_event_id(event))
    return EventStream(session_frames(watched, ids.encode("ses", session_id)))
