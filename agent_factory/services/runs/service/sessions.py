"""Sessions and their messages."""

from contextlib import suppress
from uuid import UUID

from agent_factory.api.etag import check, merge_patch
from agent_factory.database.models import MessageRow, SessionRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page, page
from agent_factory.runtime.errors import RunEnded
from agent_factory.runtime.platform import Platform
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.agents import service as agents
from agent_factory.services.definitions.service import LATEST
from agent_factory.services.runs import queries
from agent_factory.services.runs.errors import SessionBusy, SessionNotFound
from agent_factory.services.runs.schemas import SessionCreate, SessionPatch


async def create_session(session: Session, actor: Actor, body: SessionCreate) -> SessionRow:
    """Begin a conversation with an agent, deployed or not; raises `AgentNotFound`."""
    pin = await agents.pin(session, actor, body.agent, LATEST)
    rbac.check(actor, "agent:run", pin.agent_id)
    moment = now()
    row = SessionRow(
        id=uuid7(),
        organization_id=actor.organization_id,
        agent_id=pin.agent_id,
        title=body.title,
        data=dict(body.metadata),
        revision=0,
        message_count=0,
        created_at=moment,
        updated_at=moment,
    )
    await queries.add(session, row)
    return row


async def list_sessions(
    session: ReadSession, actor: Actor, limit: int, after: UUID | None, agent_id: UUID | None
) -> Page[SessionRow]:
    """List the sessions with agents that the caller may read, newest first."""
    return await queries.sessions(session, actor, limit, after, agent_id, seen=rbac.reach(actor, "agent:read"))


async def get_session(session: ReadSession, actor: Actor, session_id: UUID) -> SessionRow:
    """Find a session with an agent that the caller may read; raises `SessionNotFound` or `Denied`."""
    row = _found(await queries.session_row(session, actor, session_id))
    rbac.check(actor, "agent:read", row.agent_id)
    return row


async def patch_session(
    session: Session, actor: Actor, session_id: UUID, body: SessionPatch, if_match: str | None
) -> SessionRow:
    """Rename a session or change its metadata; raises `SessionNotFound`, `PreconditionFailed`."""
    row = await _to_change(session, actor, session_id)
    check(if_match, row.revision)
    if body.title is not None:
        row.title = body.title
    if body.metadata is not None:
        row.data = merge_patch(row.data, body.metadata)
    row.revision += 2  # it stays odd while a turn is under way
    row.updated_at = now()
    return row


async def delete_session(platform: Platform, session: Session, actor: Actor, session_id: UUID) -> None:
    """Delete a session with its messages and what its runs kept of them; a turn under way is cancelled.

    Raises `SessionNotFound`, or `SessionBusy` where a new turn begins meanwhile.
    """
    rbac.check(actor, "agent:run", _found(await queries.session_row(session, actor, session_id)).agent_id)
    at_work = await queries.run_at_work(session, actor, session_id)
    if at_work is not None:
        with suppress(RunEnded):
            await platform.engine.cancel(actor.organization_id, at_work)
    row = await _to_change(session, actor, session_id)
    if row.revision % 2:
        raise SessionBusy("A new turn has begun meanwhile; delete the session again.")
    await queries.delete_session(session, actor, session_id)


async def list_messages(
    session: ReadSession, actor: Actor, session_id: UUID, limit: int, after: UUID | None
) -> Page[MessageRow]:
    """List a session's messages, oldest first; raises `SessionNotFound`."""
    await get_session(session, actor, session_id)
    rows = await queries.messages(session, actor, session_id, limit + 1, after.int if after else 0)
    return page(rows, limit, UUID(int=rows[limit - 1].seq) if len(rows) > limit else None)


async def _to_change(session: Session, actor: Actor, session_id: UUID) -> SessionRow:
    row = _found(await queries.session_to_change(session, actor, session_id))
    rbac.check(actor, "agent:run", row.agent_id)
    return row


def _found(row: SessionRow | None) -> SessionRow:
    if row is None:
        raise SessionNotFound("There is no such session, or it is not yours.")
    return row
